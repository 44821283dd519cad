"""The calls that show without a GPU whether a consumer's libraries load, as data, in the order the consumer makes them.

What the values mean is known to gpudoctor/system/children/canary_steps.py, which gets them as JSON.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from gpudoctor.matrix.index import Matrix
from gpudoctor.model.loading import Resolution, Scenario

DRIVER = "driver"
IMPORT = "import"
ENGINES = "cudnn-engines"
# Statuses of cuDNN 8 and 9 that say that two builds meet; others than these are expected where no GPU is.
# Source: cudnn.h of 8.9 (CUDNN_STATUS_VERSION_MISMATCH) and cudnn_graph.h of 9.1
# (CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH).
_MISMATCHES = (14, 1002)
# What finalising answers when an engine or heuristic library cannot be opened (measured on 9.1.0 and 9.10.2); the words
# "Unable to load any of" go to the error output. Other codes come from the descriptor, which is not filled in.
_NOT_OPENED = (1001, *_MISMATCHES)
# CUDNN_BACKEND_POINTWISE_DESCRIPTOR: the only one that finalises without attributes.
_POINTWISE = 0
_BUNDLED_CUDNN = r"^libcudnn-[0-9a-f]{8}\.so\."
_CUDNN = r"^libcudnn\.so"


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One call.

    Attributes:
        do: `function` calls one of a library, `python` one of a module, `backend` makes cuDNN's graph library open its
            engines.
        functions: Names of the function, the first that is exported counts (cuDNN 9, cuDNN 8).
        where: Patterns of the mapped library's file name, in order of preference.
        library: Name to open instead.
        signature: What it takes and gives.
        bad: Codes that are a fault: all but 0, or these.
        module: Module of a `python` call.
        attribute: What is called, or read, in it.
        arguments: For it.
        descriptor: Kind of descriptor that `backend` makes.
        optional: Where the library or the function is missing, the step goes on.
        version_of: Family whose version the value is.
    """

    do: Literal["function", "python", "backend"]
    functions: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    library: str | None = None
    signature: Literal["none", "zero", "size", "handle", "number", "pair", "property"] = "none"
    bad: Literal["nonzero"] | tuple[int, ...] | None = None
    module: str | None = None
    attribute: str | None = None
    arguments: tuple[str, ...] = ()
    descriptor: int = _POINTWISE
    optional: bool = False
    version_of: str | None = None


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What one process does.

    Attributes:
        name: Its name.
        operations: Calls in order; the first that fails ends it.
        family: Library family that it shows.
        libraries: Stems of the libraries that it makes the consumer open.
        after: Name of a step without whose success this one says nothing new.
        hide_devices: Whether GPUs are hidden from it, so that nothing is allocated on one that is in use.
    """

    name: str
    operations: tuple[Operation, ...]
    family: str | None = None
    libraries: tuple[str, ...] = ()
    after: str | None = None
    hide_devices: bool = True


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """An import, and what follows from it.

    Attributes:
        consumer: For whom.
        scenario: In a process of its own, or after torch.
        module: What is imported; None for nothing.
        steps: What follows.
    """

    consumer: str
    scenario: Scenario
    module: str | None
    steps: tuple[Step, ...]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What one child is asked to do.

    Attributes:
        stages: Stages, each in the process that the former ones left behind.
        libraries: Pattern of the file names of GPU libraries.
        limit_s: Time limit of an import and of a step.
        in_process: Run the steps in the importing process itself, not in forks of it.
    """

    stages: tuple[Stage, ...]
    libraries: str
    limit_s: float
    in_process: bool = False


# --- cuDNN -----------------------------------------------------------------------------------------------------------


def _call(
    *functions: str,
    where: tuple[str, ...],
    signature: Literal["none", "zero", "size", "handle", "number", "pair", "property"],
    bad: Literal["nonzero"] | tuple[int, ...] | None = None,
    optional: bool = False,
    version_of: str | None = None,
) -> Operation:
    return Operation(
        do="function",
        functions=functions,
        where=where,
        signature=signature,
        bad=bad,
        optional=optional,
        version_of=version_of,
    )


def cudnn_steps(where: tuple[str, ...]) -> tuple[Step, ...]:
    """Return the steps that make a cuDNN dispatch library open its parts, as a first convolution does.

    Each repeats the calls before it: a part that is opened first is looked for otherwise than one whose relatives are
    there already. The version checks find nothing that these calls do not (they answered 0 in every mixed set that
    loads); they are asked because they name the part.

    Args:
        where: Patterns of the dispatch library's file name.
    """
    create = _call("cudnnCreate", where=where, signature="handle", bad=_MISMATCHES)
    graph = _call("cudnnGraphVersionCheck", where=where, signature="none", bad="nonzero", optional=True)
    version = _call("cudnnGetVersion", where=where, signature="size", version_of="cudnn")
    built_for = _call("cudnnGetCudartVersion", where=where, signature="size")
    ops = _call("cudnnOpsVersionCheck", "cudnnOpsInferVersionCheck", where=where, signature="none", bad="nonzero")
    tensor = _call("cudnnCreateTensorDescriptor", where=where, signature="handle", bad="nonzero")
    cnn = _call("cudnnCnnVersionCheck", "cudnnCnnInferVersionCheck", where=where, signature="none", bad="nonzero")
    convolution = _call("cudnnCreateConvolutionDescriptor", where=where, signature="handle", bad="nonzero")
    engines = ("libcudnn_heuristic", "libcudnn_engines_precompiled", "libcudnn_engines_runtime_compiled")
    backend = Operation(do="backend", functions=("cudnnBackendFinalize",), where=where, bad=_NOT_OPENED)
    return (
        _cudnn("cudnn-start", (create, graph, version, built_for), ("libcudnn_graph", "libcudnn_ops_infer"), None),
        _cudnn("cudnn-ops", (create, ops, tensor), ("libcudnn_ops", "libcudnn_ops_infer"), "cudnn-start"),
        _cudnn("cudnn-cnn", (create, tensor, cnn, convolution), ("libcudnn_cnn", "libcudnn_cnn_infer"), "cudnn-ops"),
        _cudnn(
            ENGINES,
            (create, tensor, convolution, backend),
            engines,
            "cudnn-cnn",
        ),
    )


def _cudnn(name: str, operations: tuple[Operation, ...], libraries: tuple[str, ...], after: str | None) -> Step:
    return Step(name=name, operations=operations, family="cudnn", libraries=libraries, after=after)


def _versions(*, optional: bool = True) -> tuple[Operation, ...]:
    return (
        _call(
            "cublasGetProperty",
            where=(r"^libcublas\.so",),
            signature="property",
            optional=optional,
            version_of="cublas",
        ),
        _call(
            "cudaRuntimeGetVersion",
            where=(r"^libcudart(-[0-9a-f]{8})?\.so",),
            signature="number",
            optional=optional,
            version_of="cudart",
        ),
        _call("nvrtcVersion", where=(r"^libnvrtc\.so",), signature="pair", optional=optional, version_of="nvrtc"),
    )


# --- the consumers ---------------------------------------------------------------------------------------------------


def _python(module: str, attribute: str, *arguments: str) -> Operation:
    return Operation(do="python", module=module, attribute=attribute, arguments=arguments)


def driver_stage() -> Stage:
    """Return the driver's own library, asked in the target's process."""
    library = "libcuda.so.1"
    calls = (
        Operation(do="function", functions=("cuDriverGetVersion",), library=library, signature="number"),
        Operation(do="function", functions=("cuInit",), library=library, signature="zero", bad="nonzero"),
        Operation(do="function", functions=("cuDeviceGetCount",), library=library, signature="number"),
    )
    step = Step(
        name="cuInit",
        operations=(msgspec.structs.replace(calls[0], version_of=DRIVER), *calls[1:]),
        family="libcuda",
        libraries=("libcuda",),
        hide_devices=False,
    )
    return Stage(consumer=DRIVER, scenario="alone", module=None, steps=(step,))


def ctranslate2_stage(scenario: Scenario, resolutions: tuple[Resolution, ...]) -> Stage:
    """Return what CTranslate2 does at the first transcription on a GPU.

    Args:
        scenario: In which process.
        resolutions: The emulator's; they tell whether this release opens cuDNN at all.
    """
    opens_cudnn = any(r.consumer == "ctranslate2" and r.family == "cudnn" for r in resolutions)
    # A build of a Linux distribution or of conda links the plain libcudnn. A wheel that needs none must not be judged
    # by torch's.
    cudnn = cudnn_steps((_BUNDLED_CUDNN, _CUDNN) if opens_cudnn else (_BUNDLED_CUDNN,))
    # The wheel's own stub of this name opens cuBLAS and, where it cannot, throws.
    create = _call("cublasCreate_v2", where=(r"^libctranslate2[-.]",), signature="handle")
    cublas = Step(
        name="cublas", operations=(create, *_versions()), family="cublas", libraries=("libcublas", "libcublasLt")
    )
    # get_cuda_device_count is 0 whatever is wrong; this says why.
    device = Step(
        name="device",
        operations=(_python("ctranslate2", "get_supported_compute_types", "cuda"),),
        family="libcuda",
        hide_devices=False,
    )
    return Stage(consumer="ctranslate2", scenario=scenario, module="ctranslate2", steps=(*cudnn, cublas, device))


def torch_stage() -> Stage:
    """Return what torch does before and at its first convolution."""
    version = Step(
        name="cudnn-version",
        operations=(_python("torch.backends.cudnn", "version"),),
        family="cudnn",
        libraries=("libcudnn", "libcudnn_graph"),
    )
    libraries = Step(name="versions", operations=_versions(), family="cublas", libraries=("libcublas", "libcudart"))
    device = Step(
        name="device",
        operations=(_python("torch.cuda", "init"), _python("torch.cuda", "device_count")),
        family="libcuda",
        hide_devices=False,
    )
    steps = (version, *cudnn_steps((_CUDNN,)), libraries, device)
    return Stage(consumer="torch", scenario="alone", module="torch", steps=steps)


def onnxruntime_stage() -> Stage:
    """Return what ONNX Runtime can be asked; its CUDA provider is not loaded, which without a GPU crashes.

    Where all libraries are found and no GPU is, 1.20 to 1.22 die of SIGSEGV in a static constructor of the provider.
    """
    providers = Step(name="providers", operations=(_python("onnxruntime", "get_available_providers"),))
    return Stage(consumer="onnxruntime", scenario="alone", module="onnxruntime", steps=(providers,))


def library_pattern(matrix: Matrix) -> str:
    """Return a pattern of the file names of GPU libraries, and of the consumers' that are called."""
    names = [pattern for family in matrix.data.families for pattern in family.sonames]
    called = ["libctranslate2", r"libonnxruntime[a-z_]*"]
    return "^(?:" + "|".join(f"(?:{n})" for n in (*names, *called)) + r")(?:-[0-9a-f]{8})?\.so(?:\.|$)"
