"""Sentences of the library in, talk out: IRC logs, subtitles with and without timings, parliament, e-mail."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from pipelines.sample.draw import MONTHS, Draw
from pipelines.sample.encyclopedia import characters_by_script
from pipelines.sample.writing import all_sentences, headline, prose_portions, runs, sources, subject, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.sample.draw import Moment

_CHANNELS = ("#ubuntu", "#kubuntu", "#ubuntu-devel", "#xubuntu", "#ubuntu-server", "#launchpad")
_FILLERS = (
    "yes", "no idea", "thanks", "hi all", "brb", "ah, ok", "why?", "let me try", "that worked", "same here", "hmm",
    "which version?",
)  # fmt: skip
_INTERJECTIONS = ("Yes.", "No.", "Why?", "I see.", "(door closes)", "Really?", "All right.", "♪ ♪ ♪", "Wait!")
_FOLDERS = ("Inbox", "Sent Items", "All documents", "Discussion threads")
_SUBTITLE_WIDTH = 42
_LANGUAGES = ("EN", "DE", "FR", "ES", "IT", "NL", "PT", "DA", "SV", "FI", "EL")
_EUROPEAN_SCRIPTS = ("LATIN", "GREEK", "CYRILLIC")
_QUOTED_WIDTH = 72


def channel_logs(slug: str) -> Iterator[tuple[str, str]]:
    """Ubuntu IRC: a day of a channel, with people coming, leaving and answering each other."""
    for number, passages in enumerate(prose_portions(slug, Draw(slug, 0), low_chars=2_500, high_chars=4_500), start=1):
        draw, spoken = Draw(slug, number), all_sentences(passages)
        channel, present = draw.choice(_CHANNELS), [draw.nick() for _ in range(draw.between(4, 9))]
        day, lines = draw.moment(), []
        second = day.second // 4
        lines.append(f"=== {day.iso} {channel} ===")
        for sentence in spoken:
            second = min(second + draw.between(5, 900), 86_399)
            clock = f"[{second // 3600:02d}:{second // 60 % 60:02d}]"
            nick = draw.choice(present)
            if draw.chance(8):
                left, present[present.index(nick)] = nick, draw.nick()
                lines.append(f"=== {left} [n={left.strip('_')}@{_host(draw)}] has left {channel} []")
                nick = present[-1]
                lines.append(f"=== {nick} [n={nick.strip('_')}@{_host(draw)}] has joined {channel}")
            if draw.chance(30):
                lines.append(f"{clock} <{draw.choice(present)}> {draw.choice(_FILLERS)}")
            address = f"{draw.choice(present)}: " if draw.chance(35) else ""
            lines.append(f"{clock} <{nick}> {address}{sentence}")
        yield "\n".join(lines) + "\n", sources(passages)


def _host(draw: Draw) -> str:
    return f"{draw.between(1, 254)}.{draw.between(0, 255)}.{draw.between(0, 255)}.{draw.between(1, 254)}"


def films(slug: str) -> Iterator[tuple[str, str]]:
    """OpenSubtitles: lines of dialogue of at most 42 characters, one below the other."""
    for number, passages in enumerate(prose_portions(slug, Draw(slug, 0), low_chars=2_000, high_chars=4_500), start=1):
        draw, lines = Draw(slug, number), []
        for sentence in all_sentences(passages):
            dash = "- " if draw.chance(20) else ""
            lines += wrapped(dash + sentence, _SUBTITLE_WIDTH).split("\n")
            if draw.chance(10):
                lines.append(draw.choice(_INTERJECTIONS))
        yield "\n".join(lines) + "\n", sources(passages)


def videos(slug: str) -> Iterator[tuple[str, str]]:
    """YoutubeSubtitles: numbered captions with their times, in the SubRip format."""
    for number, passages in enumerate(prose_portions(slug, Draw(slug, 0), low_chars=2_000, high_chars=4_500), start=1):
        draw, captions, start = Draw(slug, number), list[str](), 0
        for sentence in all_sentences(passages):
            lines = wrapped(sentence, _SUBTITLE_WIDTH).split("\n")
            for position in range(0, len(lines), 2):
                shown = lines[position : position + 2]
                end = start + 400 + 60 * sum(map(len, shown)) + draw.between(0, 300)
                captions.append(f"{len(captions) + 1}\n{_timing(start)} --> {_timing(end)}\n" + "\n".join(shown))
                start = end + draw.between(1, 900)
        yield "\n\n".join(captions) + "\n", sources(passages)


def _timing(millisecond: int) -> str:
    second, rest = divmod(millisecond, 1000)
    return f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d},{rest:03d}"


def sittings(slug: str) -> Iterator[tuple[str, str]]:
    """EuroParl: speeches by speaker, and annexes with the letters of European languages."""
    letters = [one for script in _EUROPEAN_SCRIPTS for one in characters_by_script()[script]]
    annexed = iter(letters)
    for number, passages in enumerate(prose_portions(slug, Draw(slug, 0), low_chars=1_900, high_chars=4_300), start=1):
        draw, spoken = Draw(slug, number), all_sentences(passages)
        lines = [f"<CHAPTER ID={number}>", headline(spoken[0])]
        for speech, run in enumerate(runs(spoken, draw, 3, 8), start=1):
            lines.append(f'<SPEAKER ID={speech} LANGUAGE="{draw.choice(_LANGUAGES)}" NAME="{draw.person()}">')
            lines.append("Mr President,")
            for position, paragraph in enumerate(runs(run, draw, 2, 4)):
                lines += [*(["<P>"] if position else []), *paragraph]
        annex = [next(annexed, None) for _ in range(draw.between(20, 40))]
        named = [f"{one} {unicodedata.name(one).lower()}" for one in annex if one is not None]
        if named:
            lines += [f"<CHAPTER ID={number}a>", "Annex: letters for the public register", *named]
        yield "\n".join(lines) + "\n", sources(passages)


def messages(slug: str) -> Iterator[tuple[str, str]]:
    """Enron Emails: headers, a short text, and now and then the message it answers."""
    for number, passages in enumerate(prose_portions(slug, Draw(slug, 0), low_chars=500, high_chars=1_500), start=1):
        draw, spoken = Draw(slug, number), all_sentences(passages)
        sender, receiver, sent = draw.person(), draw.person(), draw.moment()
        title = subject(passages[0].owner)
        answers = len(spoken) > 4 and draw.chance(50)
        cut = len(spoken) // 2 if answers else len(spoken)
        body = "\n\n".join(wrapped(" ".join(run), _QUOTED_WIDTH) for run in runs(spoken[:cut], draw, 2, 4))
        headers = _headers(draw, sender, receiver, sent, f"RE: {title}" if answers else title)
        lines = [headers, "", body, "", sender.split()[0], ""]
        if answers:
            quoted = wrapped(" ".join(spoken[cut:]), _QUOTED_WIDTH - 2, indent="> ")
            lines += [" -----Original Message-----", f"From: \t{receiver}", f"Sent:\t{sent.weekday}, {sent.long}"]
            lines += [f"Subject:\t{title}", "", quoted]
        yield "\n".join(lines).rstrip() + "\n", sources(passages)


def _headers(draw: Draw, sender: str, receiver: str, sent: Moment, title: str) -> str:
    date = f"{sent.weekday[:3]}, {sent.day} {MONTHS[sent.month - 1][:3]} {sent.year}"
    return "\n".join(
        [
            f"Message-ID: <{draw.between(10**6, 10**8)}.{draw.between(10**12, 10**13)}.JavaMail.evans@thyme.example>",
            f"Date: {date} {sent.clock}:{sent.second % 60:02d} -0700 (PDT)",
            f"From: {_mailbox(sender)}",
            f"To: {_mailbox(receiver)}",
            f"Subject: {title}",
            "Mime-Version: 1.0",
            "Content-Type: text/plain; charset=utf-8",
            f"X-Folder: \\{sender.replace(' ', '_')}\\{draw.choice(_FOLDERS)}",
        ]
    )


def _mailbox(person: str) -> str:
    plain = unicodedata.normalize("NFD", person.lower().replace("ø", "o"))
    return "".join(letter for letter in plain if letter.isascii()).replace(" ", ".") + "@library.example"
