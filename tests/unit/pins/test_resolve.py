"""Choosing a set: on small matrices that show one thing each, and on the real one."""

from __future__ import annotations

import msgspec
import pytest

from gpudoctor.matrix.claims import (
    Claim,
    Conflicts,
    HasGpuCode,
    NeedsDriver,
    NeedsLibrary,
    Opening,
    PairsWith,
    Requires,
)
from gpudoctor.matrix.index import Matrix
from gpudoctor.matrix.load import load_matrix
from gpudoctor.matrix.sources import Source
from gpudoctor.matrix.tables import Releases
from gpudoctor.matrix.types import Fact, Family, MatrixData, Provider, When
from gpudoctor.model.errors import UsageError
from gpudoctor.pins.resolve import choose
from gpudoctor.pins.types import Chosen, Conflict, Machine, Wish
from gpudoctor.pins.wishes import parse_wishes

ANY = ">=3.9,<3.15"
REAL = load_matrix()
RTX_3090 = ("RTX 3090", "8.6")
HERE = Machine(python="3.11", platform="linux-x86_64", driver="550.54.15", gpus=(RTX_3090,))
SOURCE = Source(kind="measured", ref="made up for a test")


def fact(name: str, subject: str, claim: Claim, versions: str = "", builds: tuple[str, ...] = ()) -> Fact:
    when = When(versions=versions, builds=builds)
    return Fact(id=name, subject=subject, claim=claim, when=when, status="verified", sources=(SOURCE,))


def matrix(releases: dict[str, dict[str, str]], *facts: Fact, families: tuple[Family, ...] = ()) -> Matrix:
    tables = tuple(Releases(package=p, versions=v, date="2026-11-21") for p, v in releases.items())
    return Matrix(MatrixData(version="1", families=families, consumers=(), facts=facts, releases=tables))


def found(matrix: Matrix, *wishes: str, machine: Machine = HERE, **options: object) -> dict[str, str]:
    outcome = choose(matrix, machine, parse_wishes(wishes), **options)  # type: ignore[arg-type]
    assert isinstance(outcome, Chosen), outcome
    return {c.package: c.release for c in outcome.candidates}


def refused(matrix: Matrix, *wishes: str, machine: Machine = HERE) -> Conflict:
    outcome = choose(matrix, machine, parse_wishes(wishes))
    assert isinstance(outcome, Conflict), outcome
    return outcome


TWO = {"app": {"2.0": ANY, "1.0": ANY}, "lib": {"2.0": ANY, "1.0": ANY}}


class TestChoice:
    def test_the_newest_release_for_this_python(self) -> None:
        table = matrix({"app": {"3.0": ">=3.12,<3.15", "2.0": ANY, "1.0": ANY}})
        assert found(table, "app") == {"app": "2.0"}
        assert found(table, "app", machine=msgspec.structs.replace(HERE, python="3.12")) == {"app": "3.0"}

    def test_a_wish_limits_the_releases(self) -> None:
        assert found(matrix(TWO), "app<2") == {"app": "1.0"}

    def test_what_a_release_requires_comes_along(self) -> None:
        table = matrix(TWO, fact("needs", "app", Requires(package="lib", versions="<2")))
        assert found(table, "app") == {"app": "2.0", "lib": "1.0"}

    def test_the_first_wish_is_the_one_that_is_newest(self) -> None:
        clash = fact("clash", "app", Conflicts(package="lib", versions=">=2"), ">=2")
        assert found(matrix(TWO, clash), "app", "lib") == {"app": "2.0", "lib": "1.0"}
        assert found(matrix(TWO, clash), "lib", "app") == {"lib": "2.0", "app": "1.0"}

    def test_an_undeclared_pair_holds_only_where_both_are(self) -> None:
        pair = fact("pair", "app", PairsWith(package="lib", versions="==1.0", declared=False))
        assert found(matrix(TWO, pair), "app") == {"app": "2.0"}
        assert found(matrix(TWO, pair), "app", "lib") == {"app": "2.0", "lib": "1.0"}

    def test_a_library_that_is_opened_by_name_brings_its_wheel(self) -> None:
        provider = Provider(distribution="nvidia-cudnn-cu12", major="9", versions=">=9", directory="nvidia/cudnn/lib")
        family = Family(name="cudnn", title="cuDNN", sonames=("libcudnn",), providers=(provider,))
        claim = NeedsLibrary(
            library="cudnn",
            major="9",
            requester="libapp.so",
            opens=(Opening(role="cudnn", names=("libcudnn.so.9",)),),
            when_opened="at the first convolution",
            provided_by="nvidia-cudnn-cu12",
        )
        releases = {"app": {"2.0": ANY}, "nvidia-cudnn-cu12": {"10.0": ANY, "9.1": ANY, "8.9": ANY}}
        table = matrix(releases, fact("opens", "app", claim), families=(family,))
        assert found(table, "app<3", "nvidia-cudnn-cu12<10") == {"app": "2.0", "nvidia-cudnn-cu12": "9.1"}
        assert refused(table, "app", "nvidia-cudnn-cu12<9").facts == ("opens",)

    def test_what_is_installed_is_kept_where_it_fits(self) -> None:
        newer = fact("newer", "app", Requires(package="lib", versions=">=2"), ">=2")
        table = matrix(TWO, newer, fact("older", "app", Requires(package="lib"), "<2"))
        assert found(table, "app", installed={"app": "1.0", "lib": "1.0"}) == {"app": "1.0", "lib": "1.0"}
        assert found(table, "app>=2", installed={"app": "1.0", "lib": "1.0"}) == {"app": "2.0", "lib": "2.0"}

    def test_a_release_that_no_fact_speaks_of_is_not_trusted(self) -> None:
        table = matrix(TWO, fact("needs", "app", Requires(package="lib"), ">=2"))
        assert "no fact" in refused(table, "app<2").reasons[0]

    def test_a_misspelt_package_is_suggested(self) -> None:
        with pytest.raises(UsageError, match="did you mean faster-whisper"):
            choose(REAL, HERE, (Wish("fastr-whisper"),))

    def test_an_unknown_package_is_wrong_usage(self) -> None:
        with pytest.raises(UsageError, match="nothing-of-ours: the matrix knows no releases"):
            choose(matrix(TWO), HERE, (Wish("nothing-of-ours"),))


class TestMachine:
    CODE = (
        fact("code-13", "torch", HasGpuCode(cuda="13.0", sass=("75", "80", "86", "120")), ">=2"),
        fact("code-12", "torch", HasGpuCode(cuda="12.4", sass=("70", "80", "86")), "<2", ("",)),
        fact("code-cu126", "torch", HasGpuCode(cuda="12.6", sass=("60", "70", "86")), "<2", ("cu126",)),
        fact("cuda-12", "cuda", NeedsDriver(cuda="12.0", linux="525.60.13"), ">=12,<13"),
        fact("cuda-13", "cuda", NeedsDriver(cuda="13.0", linux="580.65.06"), ">=13,<14"),
    )
    TORCH = matrix({"torch": {"2.0": ANY, "1.9": ANY}}, *CODE)

    def test_the_driver_decides_on_the_cuda_major_only(self) -> None:
        assert found(self.TORCH, "torch") == {"torch": "1.9"}
        newer = msgspec.structs.replace(HERE, driver="580.65.06")
        assert found(self.TORCH, "torch", machine=newer) == {"torch": "2.0"}

    def test_a_gpu_without_code_takes_another_build(self) -> None:
        pascal = msgspec.structs.replace(HERE, gpus=(("GTX 1080 Ti", "6.1"),))
        assert found(self.TORCH, "torch", machine=pascal) == {"torch": "1.9+cu126"}
        conflict = choose(self.TORCH, pascal, (Wish("torch"),), from_package_index=True)
        assert isinstance(conflict, Conflict)
        assert conflict.between == ("torch", "GTX 1080 Ti (compute capability 6.1)")

    def test_without_driver_and_gpu_nothing_is_judged_against_them(self) -> None:
        nothing = Machine(python="3.11", platform="linux-x86_64")
        assert found(self.TORCH, "torch", machine=nothing) == {"torch": "2.0"}

    def test_only_ptx_takes_a_driver_that_compiles_it(self) -> None:
        table = matrix(
            {"app": {"2.0": ANY, "1.0": ANY}},
            fact("code", "app", HasGpuCode(cuda="12.8", sass=("80",), ptx=("80",)), ">=2"),
            fact("older", "app", HasGpuCode(cuda="12.2", sass=("80",), ptx=("80",)), "<2"),
            fact("ptx", "app", NeedsDriver(cuda="12.8", linux="570.26", ptx=True), ">=2"),
            fact("ptx-older", "app", NeedsDriver(cuda="12.2", linux="535.54.03", ptx=True), "<2"),
            *self.CODE[3:],
        )
        hopper = msgspec.structs.replace(HERE, gpus=(("H100", "9.0"),))
        assert found(table, "app") == {"app": "2.0"}  # machine code for 8.6
        assert found(table, "app", machine=hopper) == {"app": "1.0"}
        assert found(table, "app", machine=msgspec.structs.replace(hopper, driver="570.86.10")) == {"app": "2.0"}

    def test_the_torch_family_is_of_one_index(self) -> None:
        pair = PairsWith(package="torch", versions="==1.9", cuda="same-release")
        table = matrix(
            {"torch": {"2.0": ANY, "1.9": ANY}, "torchaudio": {"1.9": ANY}},
            *self.CODE,
            fact("pair", "torchaudio", pair),
        )
        pascal = msgspec.structs.replace(HERE, gpus=(("GTX 1080 Ti", "6.1"),))
        assert found(table, "torchaudio", machine=pascal) == {"torchaudio": "1.9+cu126", "torch": "1.9+cu126"}
        assert found(table, "torchaudio") == {"torchaudio": "1.9", "torch": "1.9"}


class TestConflict:
    def test_only_what_contradicts_is_named(self) -> None:
        releases = {**TWO, "other": {"1.0": ANY}}
        table = matrix(releases, fact("clash", "app", Conflicts(package="lib", shares_files=True)))
        conflict = refused(table, "other", "app", "lib")
        assert conflict.between == ("app", "lib")
        assert conflict.facts == ("clash",)

    def test_the_python_is_named_only_where_another_would_do(self) -> None:
        table = matrix({"app": {"1.0": ">=3.9,<3.11"}})
        assert refused(table, "app").between == ("app", "Python 3.11")
        assert refused(matrix(TWO), "app>9").between == ("app>9",)

    def test_releases_with_one_reason_are_one_sentence(self) -> None:
        table = matrix(TWO, fact("needs", "app", Requires(package="lib", versions=">=3")))
        assert refused(table, "app").reasons == (
            "app 1.0 to 2.0 requires lib>=3, of which no release with wheels is published",
        )

    def test_each_release_is_ruled_out_by_one_statement_and_none_is_spare(self) -> None:
        """A chain through three packages, beside statements that would rule out the same once more."""
        table = matrix(
            {
                "app": {"3.0": ANY, "2.0": ANY, "1.0": ANY},
                "lib": {"2.0": ANY, "1.0": ANY},
                "base": {"1.0": ">=3.12,<3.15"},
            },
            fact("newer", "app", Requires(package="lib", versions=">=2"), ">=2"),
            fact("older", "app", Requires(package="lib", versions="<2"), "<2"),
            fact("lib-base", "lib", Requires(package="base"), ">=2"),
            fact("lib-torch", "lib", Requires(package="torch"), "<2"),
            fact("app-torch", "app", Conflicts(package="torch"), "==1.0"),
        )
        everything = msgspec.structs.replace(
            table.data,
            releases=(*table.data.releases, Releases(package="torch", versions={"2.0": ANY}, date="2026-11-21")),
        )
        conflict = refused(Matrix(everything), "app")
        assert conflict.between == ("app", "Python 3.11")
        assert set(conflict.reasons) == {
            "app 2.0 to 3.0 requires lib>=2",
            "lib 2.0 requires base",
            "base 1.0 has no wheel for Python 3.11",
            "app 1.0 requires lib<2",
            "lib 1.0 requires torch",
            "app 1.0 does not work with torch",
        }
        assert conflict.facts == ("app-torch", "lib-base", "lib-torch", "newer", "older")

    def test_two_needs_that_meet_in_a_third_package(self) -> None:
        table = matrix(
            {"app": {"1.0": ANY}, "other": {"1.0": ANY}, "lib": {"2.0": ANY, "1.0": ANY}},
            fact("one", "app", Requires(package="lib", versions="<2")),
            fact("two", "other", Requires(package="lib", versions=">=2")),
        )
        conflict = refused(table, "app", "other")
        assert conflict.between == ("app", "other")
        assert set(conflict.reasons) == {"app 1.0 requires lib<2", "other 1.0 requires lib>=2"}

    def test_what_only_a_search_finds_is_refused_as_well(self) -> None:
        """Every two of three packages go together, all three do not: consistency of pairs cannot see it."""
        releases = {name: {"2.0": ANY, "1.0": ANY} for name in ("a", "b", "c")}
        unequal = [
            fact(f"{one}{other}{version[0]}", one, Conflicts(package=other, versions=f"=={version}"), f"=={version}")
            for one, other in (("a", "b"), ("b", "c"), ("a", "c"))
            for version in ("1.0", "2.0")
        ]
        conflict = refused(matrix(releases, *unequal), "a", "b", "c")
        assert conflict.between == ("a", "b", "c")
        assert conflict.reasons
        assert conflict.facts

    def test_releases_in_between_that_are_not_meant_part_a_range(self) -> None:
        releases = {"app": {"4.0": ANY, "3.0": ANY, "2.0": ANY, "1.0": ANY}, "lib": {"2.0": ANY}}
        table = matrix(
            releases,
            fact("most", "app", Requires(package="lib", versions="<1"), "!=2.0"),
            fact("one", "app", Requires(package="lib", versions=">2"), "==2.0"),
        )
        assert refused(table, "app").reasons[0].startswith("app 1.0 and 3.0 to 4.0 requires lib<1")

    def test_a_release_that_does_not_exist_is_named_with_those_that_do(self) -> None:
        conflict = refused(matrix(TWO), "app==1.5")
        assert conflict.reasons == (
            "app has no release ==1.5 with wheels that the matrix knows; the newest are 2.0, 1.0",
        )


class TestRealMatrix:
    def test_releases_that_want_cudnn_8_can_be_had(self) -> None:
        assert found(REAL, "ctranslate2==4.4.0")["nvidia-cudnn-cu12"].startswith("8.")
        assert found(REAL, "ctranslate2==4.4.0", "torch")["torch"].startswith("2.3.")

    def test_on_windows_cuda_comes_from_pytorchs_index_and_fits_the_driver(self) -> None:
        windows = msgspec.structs.replace(HERE, platform="windows-x86_64", driver="560.94", gpus=(("4090", "8.9"),))
        assert "+cu12" in found(REAL, "torch", machine=windows)["torch"]
        newer = msgspec.structs.replace(windows, driver="591.44")
        assert "+cu13" in found(REAL, "torch", machine=newer)["torch"]
        assert "+" not in found(REAL, "torch", machine=Machine(python="3.11", platform="windows-x86_64"))["torch"]

    def test_on_arm_the_package_index_has_cuda_from_2_11_on(self) -> None:
        grace = Machine(python="3.11", platform="linux-aarch64", driver="580.65.06", gpus=(("GH200", "9.0"),))
        assert found(REAL, "torch", machine=grace, from_package_index=True)["torch"] >= "2.11"
        conflict = choose(REAL, grace, (Wish("torch", "<2.11"),), from_package_index=True)
        assert isinstance(conflict, Conflict)
        assert "without CUDA for linux-aarch64" in conflict.reasons[0]

    def test_a_label_asks_for_that_build(self) -> None:
        assert found(REAL, "torch==2.7.1+cu118")["torch"] == "2.7.1+cu118"
        assert found(REAL, "torch==2.7.1+cu126")["torch"] == "2.7.1"  # the package index's own build
        assert refused(REAL, "torch==2.7.1+cu999").between == ("torch==2.7.1+cu999",)

    def test_a_driver_for_cuda_11(self) -> None:
        old = msgspec.structs.replace(HERE, driver="470.82.01")
        conflict = refused(REAL, "faster-whisper", machine=old)
        assert conflict.between == ("faster-whisper", "driver 470.82.01")
        assert "ctranslate2 4.0.0 to 4.8.5 needs driver 525.60.13 or newer for CUDA 12" in conflict.reasons
        assert found(REAL, "ctranslate2", machine=old)["ctranslate2"].startswith("3.")

    def test_a_python_without_wheels_is_the_first_thing_said(self) -> None:
        conflict = refused(REAL, "whisperx", machine=msgspec.structs.replace(HERE, python="3.14"))
        assert conflict.between == ("whisperx", "Python 3.14")
        assert conflict.reasons[0].endswith("has no wheel for Python 3.14")

    def test_ptx_names_gpu_and_driver(self) -> None:
        hopper = msgspec.structs.replace(HERE, driver="525.60.13", gpus=(("H100", "9.0"),))
        conflict = refused(REAL, "ctranslate2>=4", machine=hopper)
        assert conflict.between == ("ctranslate2>=4", "H100 (compute capability 9.0)", "driver 525.60.13")

    def test_a_platform_whose_build_has_no_cuda_is_no_choice_for_a_gpu(self) -> None:
        arm = Machine(python="3.11", platform="linux-aarch64")
        assert "ctranslate2" in found(REAL, "faster-whisper", machine=arm)
        grace = msgspec.structs.replace(arm, driver="580.65.06", gpus=(("GH200", "9.0"),))
        assert any("without CUDA" in reason for reason in refused(REAL, "faster-whisper", machine=grace).reasons)

    def test_whisperx_that_contradicts_itself(self) -> None:
        conflict = refused(REAL, "whisperx==3.4.2")
        assert conflict.between == ("whisperx==3.4.2",)
        assert "whisperx 3.4.2 requires ctranslate2<4.5.0" in conflict.reasons
        assert "whisperx-3-3-3-ctranslate2" in conflict.facts

    def test_a_driver_that_does_not_know_the_gpu(self) -> None:
        old = Machine(python="3.11", platform="linux-x86_64", driver="535.104.05", gpus=(("RTX 5090", "12.0"),))
        assert refused(REAL, "faster-whisper", machine=old).between == ("RTX 5090", "driver 535.104.05")

    def test_a_driver_that_no_longer_runs_the_gpu(self) -> None:
        new = msgspec.structs.replace(HERE, driver="590.48.01", gpus=(("V100", "7.0"),))
        conflict = refused(REAL, "faster-whisper", machine=new)
        assert conflict.between == ("V100", "driver 590.48.01")
        assert "branch 580 or older" in conflict.reasons[0]

    def test_torch_and_ctranslate2_share_one_cublas(self) -> None:
        chosen = found(REAL, "faster-whisper", "torch>=2.6,<2.11")
        assert chosen["nvidia-cublas-cu12"].startswith("12.")
        torch = chosen["torch"]
        pins = {c.package: c.versions for _, c in REAL.facts("torch", Requires, torch, "linux-x86_64", "3.11")}
        assert pins["nvidia-cublas-cu12"] == f"=={chosen['nvidia-cublas-cu12']}"
