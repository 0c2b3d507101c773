import os

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer

from .models import Line


class Chat(AsyncJsonWebsocketConsumer):
    """What one page says, all pages of its room show, and later ones read again."""

    async def connect(self) -> None:
        self.room = self.scope["url_route"]["kwargs"]["room"]
        if self.room == "closed":
            await self.close()
            return
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept()
        user = self.scope["user"].username or "nobody"
        lines = await self.lines()
        await self.send_json({"worker": os.getpid(), "user": user, "lines": lines})

    async def disconnect(self, code: int) -> None:
        if self.room != "closed":
            await self.channel_layer.group_discard(self.room, self.channel_name)

    async def receive_json(self, content: dict) -> None:
        await self.keep(content["text"])
        message = {"type": "chat.line", "text": content["text"], "name": content["name"]}
        await self.channel_layer.group_send(self.room, message)

    async def chat_line(self, event: dict) -> None:
        await self.send_json({"name": event["name"], "text": event["text"]})

    @database_sync_to_async
    def keep(self, text: str) -> None:
        Line.objects.create(room=self.room, text=text)

    @database_sync_to_async
    def lines(self) -> list[str]:
        return [line.text for line in Line.objects.filter(room=self.room).order_by("pk")]
