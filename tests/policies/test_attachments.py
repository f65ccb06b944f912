"""Images and files of a turn reach the model, or the request is refused."""

import asyncio
import dataclasses
from typing import Any

import pytest

from policies import (
    Attachment,
    Capability,
    CapabilityError,
    GenerationRequest,
    InvalidInputError,
    Message,
    ThinkrouteError,
    build_backend,
    user_message,
)
from tests.policies.chat_server import Reply, Server, ask, chat

PICTURE = Attachment("image", "https://example.com/cat.png")
PAPER = Attachment("file", "data:application/pdf;base64,JVBERi0=", "paper.pdf")


def request(*attachments: Attachment, content: str = "What is it?") -> GenerationRequest:
    turn = Message("user", content, attachments)
    return GenerationRequest((Message("system", "Be brief."), turn), max_tokens=9)


async def test_parts_go_before_the_text_and_plain_turns_stay_plain(server: Server) -> None:
    await ask(server, chat(), request=request(PICTURE, PAPER))
    assert server.requests[0]["body"]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": PICTURE.url}},
                {"type": "file", "file": {"filename": "paper.pdf", "file_data": PAPER.url}},
                {"type": "text", "text": "What is it?"},
            ],
        },
    ]


async def test_a_turn_may_be_a_picture_alone(server: Server) -> None:
    await ask(server, chat(), request=request(PICTURE, content=""))
    [part] = server.requests[0]["body"]["messages"][1]["content"]
    assert part["type"] == "image_url"


async def test_a_continuation_that_would_lose_them_is_refused_unasked(server: Server) -> None:
    asked = dataclasses.replace(request(PICTURE), continuation=(5,))
    with pytest.raises(CapabilityError, match="attachments cannot be continued"):
        await ask(server, Reply({}), request=asked)
    assert server.requests == []


@pytest.mark.parametrize(
    ("name", "options"),
    [("fake", {"script": ["a"]}), ("pocket", {})],
)
def test_backends_of_text_refuse_them(name: str, options: dict[str, Any]) -> None:
    model = "pocket-s" if name == "pocket" else "m"
    backend = build_backend(name, model, **options)
    assert Capability.ATTACHMENTS not in backend.capabilities
    with pytest.raises(CapabilityError, match="attachments"):
        asyncio.run(backend.generate(request(PICTURE)))


def test_only_turns_with_attachments_need_the_capability() -> None:
    assert Capability.ATTACHMENTS in request(PICTURE).needs()
    assert Capability.ATTACHMENTS not in GenerationRequest(user_message("a"), 1).needs()


@pytest.mark.parametrize(
    ("kind", "url", "words"),
    [
        ("video", "https://example.com/a.mp4", "kind is 'video', expected one of image, file"),
        ("image", "file:///etc/passwd", "begins with 'file', expected https or http or data"),
        ("image", "/etc/passwd", "begins with ''"),
        ("image", "//[", "begins with ''"),
        ("file", "https://example.com/a.pdf", "begins with 'https', expected data"),
    ],
)
def test_what_no_server_could_be_given_is_refused_unrepeated(
    kind: Any, url: str, words: str
) -> None:
    with pytest.raises(InvalidInputError, match=words) as caught:
        Attachment(kind, url)
    assert "passwd" not in str(caught.value)
    assert isinstance(caught.value, ThinkrouteError)


def test_contents_are_not_shown() -> None:
    assert "JVBERi0" not in repr(request(PAPER))
