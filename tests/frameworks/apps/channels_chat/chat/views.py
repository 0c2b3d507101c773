import asyncio
import hashlib
from collections.abc import AsyncIterator

from django.contrib.auth import alogin, get_user_model
from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    JsonResponse,
    StreamingHttpResponse,
)
from django.shortcuts import render

from .models import Line


def page(request: HttpRequest) -> HttpResponse:
    """A view that is not async, with a template."""
    request.session["seen"] = request.session.get("seen", 0) + 1
    return render(request, "chat/page.html", {"seen": request.session["seen"]})


async def log_in(request: HttpRequest) -> HttpResponse:
    users = get_user_model().objects
    user, _ = await users.aget_or_create(username=request.GET["name"])
    await alogin(request, user)
    return HttpResponse("welcome")


async def lines(request: HttpRequest, room: str) -> JsonResponse:
    """The asynchronous ORM."""
    found = [line.text async for line in Line.objects.filter(room=room).order_by("pk")]
    return JsonResponse({"lines": found, "user": (await request.auser()).username})


async def later(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(0.05)
    return HttpResponse("later")


async def upload(request: HttpRequest) -> JsonResponse:
    file = request.FILES["file"]
    digest = hashlib.sha256()
    for part in file.chunks():
        digest.update(part)
    return JsonResponse({"name": file.name, "size": file.size, "sha256": digest.hexdigest()})


async def stream(request: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[str]:
        for number in range(5):
            yield f"{number}\n"
            await asyncio.sleep(0.001)

    return StreamingHttpResponse(parts(), content_type="text/plain")


def file(request: HttpRequest) -> FileResponse:
    return FileResponse(open(__file__, "rb"), as_attachment=True)
