"""The types of compat/errors/: signatures of messages, contexts around them, harmless warnings, advice per cause."""

from __future__ import annotations

from typing import Literal

import msgspec

from gpudoctor.model.base import Frozen
from gpudoctor.model.errors import GpuDoctorError
from gpudoctor.model.finding import Fix

COMPILED_FILE = "signatures.json"
Tier = Literal["specific", "plain", "generic"]
Platform = Literal["linux", "windows", "macos"]


class Signature(Frozen, frozen=True, kw_only=True, omit_defaults=True):
    """A message that speaks for one cause, or for several that it cannot tell apart.

    Attributes:
        id: Unique, never reused.
        pattern: Regular expression with named parts; `<name>` stands for a macro. All repeats are bounded.
        anchors: Literals of which every match holds at least one; one longer than a word keeps the scan fast.
        causes: Cause id -> how strongly the message alone speaks for it, 0 to 1.
        tier: How much the message says: a later one of a lower tier is an echo of an earlier one.
        explanation: What the message means; `{part}` stands for a named part.
        not_this: The wrong belief that it provokes.
        near: Ids of contexts of which one must stand within some lines of it; empty: none is needed.
        unless: Ids of contexts that must not stand near it.
        parts: Parts that the message implies without naming them, such as the package that prints it.
        source: Where the wording comes from: project and file of the format string, or the thread.
    """

    id: str
    pattern: str
    anchors: tuple[str, ...]
    causes: dict[str, float]
    explanation: str
    source: str
    tier: Tier = "specific"
    not_this: str | None = None
    near: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    parts: dict[str, str] = msgspec.field(default_factory=dict)


class Context(Frozen, frozen=True, kw_only=True, omit_defaults=True):
    """Something around a message that shifts the balance; it never names a cause by itself.

    Attributes:
        id: Unique.
        pattern: Regular expression; its named parts `cuda` and `cudnn` tell which majors are there.
        anchors: As of a signature.
        effects: Cause id -> factor on its weight.
        platform: Operating system that it shows.
        nonfatal: Causes whose messages are mere warnings here: what failed later is not their echo.
        source: As of a signature.
    """

    id: str
    pattern: str
    anchors: tuple[str, ...]
    nonfatal: tuple[str, ...] = ()
    effects: dict[str, float] = msgspec.field(default_factory=dict)
    platform: Platform | None = None
    source: str = ""


class HarmlessMessage(Frozen, frozen=True, kw_only=True, omit_defaults=True):
    """A message that people take for the cause.

    Attributes:
        id: Unique.
        pattern: Regular expression.
        anchors: As of a signature.
        explanation: Why it is not.
        hides: Ids of signatures that must not be found on its line; `*` for all.
        source: As of a signature.
    """

    id: str
    pattern: str
    anchors: tuple[str, ...]
    explanation: str
    source: str
    hides: tuple[str, ...] = ()


class CauseFix(Frozen, frozen=True, kw_only=True, omit_defaults=True):
    """A way out of a cause.

    Attributes:
        title: One imperative sentence; `{part}` stands for a named part.
        commands: What to type; one that needs a part that the log does not name is left out.
        platforms: Operating systems that it is for; empty: all.
        when: Parts that must have been named, with the values that they must have; empty: always.
        applicability: As of a finding's fix.
    """

    title: str
    commands: tuple[str, ...] = ()
    platforms: tuple[Platform, ...] = ()
    when: dict[str, str] = msgspec.field(default_factory=dict)
    applicability: Literal["safe", "unsafe", "display-only"] = "display-only"

    def fix(self, title: str, commands: tuple[str, ...]) -> Fix:
        """Return it for one log."""
        return Fix(title=title, applicability=self.applicability, commands=commands)


class CauseAdvice(Frozen, frozen=True, kw_only=True, omit_defaults=True):
    """What is said of a cause, whichever message showed it.

    Attributes:
        id: Cause id.
        explanation: What is wrong, where a signature that cannot tell has no words of its own for it.
        rules: Rules of `check` that can decide it: those of the registry that name it. Filled in when compiled.
        fixes: Ways out, best first.
    """

    id: str
    explanation: str
    rules: tuple[str, ...] = ()
    fixes: tuple[CauseFix, ...] = ()


class Catalogue(Frozen, frozen=True, kw_only=True, omit_defaults=True):
    """All of compat/errors/, compiled.

    Attributes:
        sieve: Short literals; every anchor holds one, so that one fast pass finds all lines worth a look.
        macros: Name -> regular expression, for `<name>` in patterns. Empty once compiled.
        tables: Name -> part's value -> words, for `{table:part}` in texts.
        signatures: Messages.
        contexts: What stands around them.
        harmless: Messages that are not the cause.
        causes: Advice.
    """

    sieve: tuple[str, ...] = ()
    macros: dict[str, str] = msgspec.field(default_factory=dict)
    tables: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)
    signatures: tuple[Signature, ...] = ()
    contexts: tuple[Context, ...] = ()
    harmless: tuple[HarmlessMessage, ...] = ()
    causes: tuple[CauseAdvice, ...] = ()


def load_catalogue() -> Catalogue:
    """Return the catalogue as compiled into the package.

    Raises:
        GpuDoctorError: The package's own file is damaged.
    """
    import gpudoctor.explain

    file = f"{gpudoctor.explain.__path__[0]}/{COMPILED_FILE}"
    try:
        with open(file, "rb") as stream:
            return msgspec.json.decode(stream.read(), type=Catalogue)
    except (OSError, msgspec.DecodeError) as error:
        raise GpuDoctorError(f"{file}: the signatures cannot be read ({error}); install gpudoctor again") from error
