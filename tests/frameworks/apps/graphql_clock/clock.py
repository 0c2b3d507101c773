"""A clock in GraphQL: queries and mutations over HTTP, subscriptions over a WebSocket."""

import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import Path

import strawberry
from strawberry.asgi import GraphQL

DATA = Path(os.environ["CLOCK_DATA"])

ticks = 0


@strawberry.type
class Tick:
    number: int
    text: str


@strawberry.type
class Query:
    @strawberry.field
    async def ticks(self) -> int:
        return ticks

    @strawberry.field
    def tick(self, number: int) -> Tick:
        return Tick(number=number, text=f"tick {number}")


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def wind(self, by: int) -> int:
        global ticks
        ticks += by
        return ticks


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self, to: int = 3) -> AsyncGenerator[Tick, None]:
        try:
            for number in range(to):
                yield Tick(number=number, text=f"tick {number}")
                await asyncio.sleep(0.01)
        finally:
            with (DATA / "log").open("a") as file:
                file.write("subscription ended\n")


app = GraphQL(strawberry.Schema(query=Query, mutation=Mutation, subscription=Subscription))
