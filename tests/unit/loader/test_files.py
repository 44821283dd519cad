"""What lies at a path: asked of the machine once."""

from __future__ import annotations

from gpudoctor.loader.files import Files
from gpudoctor.system.memory import MemorySystem
from gpudoctor.system.protocol import RandomReader


class Counted(MemorySystem):
    opened: int = 0

    def open(self, path: str) -> RandomReader:
        self.opened += 1
        return super().open(path)


def test_nothing_is_opened_in_a_folder_that_is_known_not_to_be_there() -> None:
    system = Counted({"/lib/liba.so": "no library"}, unreadable=("/locked",))
    files = Files(system, "/lib", "x86_64")
    assert not files.is_directory("/lib/tls")
    assert files.look("/lib/tls/liba.so") == files.look("/lib/tls/libb.so")
    assert system.opened == 0


def test_what_may_be_there_is_still_tried() -> None:
    system = Counted({"/lib/liba.so": "no library", "/locked/liba.so": "x"}, unreadable=("/locked",))
    files = Files(system, "/", "x86_64")
    assert not files.is_directory("/lib/liba.so")
    assert files.is_directory("lib")
    for path, result in (("/lib/liba.so", "not-elf"), ("lib/liba.so", "not-elf"), ("/locked/liba.so", "unreadable")):
        seen = files.look(path)
        assert getattr(seen, "result", "") == result
    assert system.opened == 3
