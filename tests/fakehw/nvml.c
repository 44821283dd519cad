/* A libnvidia-ml.so.1 without a GPU: the part of NVML's ABI that gpudoctor asks for, through nvidia-ml-py.
 *
 * Settings: driver, cuda, count, device (path of a control device), the name of any function (a code, `hang`, `crash`,
 * `abort`, `flood`), and for GPU N: gpuN.name, .uuid, .bus, .cc, .total, .free, .reserved, .mig (0 or 1),
 * .mig_devices, .mig_total, .mig_free, .handle (a code), .memory (a code), .ecc (uncorrectable errors; none: no ECC
 * memory), .remap_failed (0 or 1), .fabric (a state), .fabric_status.
 *
 * -DOLD_DRIVER leaves out what drivers before 2020 did not have.
 *
 * ABI: https://docs.nvidia.com/deploy/nvml-api/index.html
 */
#include "settings.h"

#include <errno.h>
#include <fcntl.h>

typedef int nvmlReturn_t;

enum {
    SUCCESS = 0,
    UNINITIALIZED = 1,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    NO_PERMISSION = 4,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9,
    ARGUMENT_VERSION_MISMATCH = 25,
    UNKNOWN = 999,
};

enum { GPUS = 16, SLICES = 7 };

struct device {
    int gpu;
    int slice; /* -1: the whole GPU */
};

static struct device devices[GPUS];
static struct device slices[GPUS][SLICES];
static int started;

#define ENTER()                                \
    do {                                       \
        if (!started) {                        \
            return UNINITIALIZED;              \
        }                                      \
        int told = misbehave(__func__);        \
        if (told) {                            \
            return told;                       \
        }                                      \
    } while (0)

static const char *of_gpu(int gpu, const char *what) {
    char name[64];
    snprintf(name, sizeof name, "gpu%d.%s", gpu, what);
    return text_setting(name);
}

static long long number_of_gpu(int gpu, const char *what, long long otherwise) {
    const char *text = of_gpu(gpu, what);
    return text ? strtoll(text, NULL, 0) : otherwise;
}

static nvmlReturn_t give_text(char *buffer, unsigned size, const char *text) {
    if (!text) {
        return NOT_SUPPORTED;
    }
    if (strlen(text) >= size) {
        return INSUFFICIENT_SIZE;
    }
    strcpy(buffer, text);
    return SUCCESS;
}

static unsigned gpu_count(void) {
    return (unsigned)number_setting("count", 1);
}

/* The control device of a real driver is a file whose mode decides who may talk to it: 0 when it opens. */
static int device_errno(void) {
    const char *path = text_setting("device");
    if (!path) {
        return 0;
    }
    int descriptor = open(path, O_RDWR | O_CLOEXEC);
    if (descriptor < 0) {
        return errno;
    }
    close(descriptor);
    return 0;
}

nvmlReturn_t nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    int told = misbehave("nvmlInit");
    if (told) {
        return told;
    }
    int refused = device_errno();
    if (refused) {
        /* EACCES is the file's mode; EPERM is a container's device cgroup, which NVML cannot explain. */
        return refused == EACCES ? NO_PERMISSION : refused == EPERM ? UNKNOWN : DRIVER_NOT_LOADED;
    }
    for (int gpu = 0; gpu < GPUS; gpu++) {
        devices[gpu] = (struct device){gpu, -1};
        for (int slice = 0; slice < SLICES; slice++) {
            slices[gpu][slice] = (struct device){gpu, slice};
        }
    }
    started = 1;
    return SUCCESS;
}

nvmlReturn_t nvmlInit_v2(void) {
    return nvmlInitWithFlags(0);
}

nvmlReturn_t nvmlShutdown(void) {
    ENTER();
    started = 0;
    return SUCCESS;
}

const char *nvmlErrorString(nvmlReturn_t code) {
    static char text[64];
    snprintf(text, sizeof text, "fake NVML error %d", code);
    return text;
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *buffer, unsigned size) {
    ENTER();
    return give_text(buffer, size, text_setting("driver"));
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *version) {
    ENTER();
    *version = (int)number_setting("cuda", 12040);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *count) {
    ENTER();
    *count = gpu_count();
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, struct device **handle) {
    ENTER();
    if (index >= gpu_count() || index >= GPUS) {
        return INVALID_ARGUMENT;
    }
    *handle = &devices[index];
    return (nvmlReturn_t)number_of_gpu((int)index, "handle", SUCCESS);
}

nvmlReturn_t nvmlDeviceGetName(struct device *device, char *buffer, unsigned size) {
    ENTER();
    return give_text(buffer, size, of_gpu(device->gpu, "name"));
}

nvmlReturn_t nvmlDeviceGetUUID(struct device *device, char *buffer, unsigned size) {
    ENTER();
    const char *uuid = of_gpu(device->gpu, "uuid");
    if (device->slice < 0 || !uuid) {
        return give_text(buffer, size, uuid);
    }
    /* `GPU-1b…` has the slices `MIG-0b…`, `MIG-1b…`: on a real GPU the two UUIDs have nothing in common. */
    char name[96];
    snprintf(name, sizeof name, "MIG-%d%s", device->slice, strlen(uuid) > 5 ? uuid + 5 : "");
    return give_text(buffer, size, name);
}

struct pci_info {
    char bus_id_legacy[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    char bus_id[32];
};

nvmlReturn_t nvmlDeviceGetPciInfo_v3(struct device *device, struct pci_info *info) {
    ENTER();
    memset(info, 0, sizeof *info);
    return give_text(info->bus_id, sizeof info->bus_id, of_gpu(device->gpu, "bus"));
}

nvmlReturn_t nvmlDeviceGetCudaComputeCapability(struct device *device, int *major, int *minor) {
    ENTER();
    const char *text = of_gpu(device->gpu, "cc");
    return text && sscanf(text, "%d.%d", major, minor) == 2 ? SUCCESS : NOT_SUPPORTED;
}

struct memory {
    unsigned long long total, free, used;
};

nvmlReturn_t nvmlDeviceGetMemoryInfo(struct device *device, struct memory *memory) {
    ENTER();
    nvmlReturn_t told = (nvmlReturn_t)number_of_gpu(device->gpu, "memory", SUCCESS);
    memory->total = (unsigned long long)number_of_gpu(device->gpu, device->slice < 0 ? "total" : "mig_total", 0);
    memory->free = (unsigned long long)number_of_gpu(device->gpu, device->slice < 0 ? "free" : "mig_free", 0);
    memory->used = memory->total - memory->free;
    return told;
}

#ifndef OLD_DRIVER

struct memory_v2 {
    unsigned version;
    unsigned long long total, reserved, free, used;
};

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(struct device *device, struct memory_v2 *memory) {
    ENTER();
    if (memory->version != (sizeof *memory | 2u << 24)) {
        return ARGUMENT_VERSION_MISMATCH;
    }
    struct memory plain;
    nvmlReturn_t told = nvmlDeviceGetMemoryInfo(device, &plain);
    memory->total = plain.total;
    memory->reserved = (unsigned long long)number_of_gpu(device->gpu, "reserved", 0);
    memory->free = plain.free - memory->reserved;
    memory->used = plain.used;
    return told;
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version) {
    ENTER();
    *version = (int)number_setting("cuda_of_libcuda", number_setting("cuda", 12040));
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMigMode(struct device *device, unsigned *current, unsigned *pending) {
    ENTER();
    const char *text = of_gpu(device->gpu, "mig");
    if (!text) {
        return NOT_SUPPORTED;
    }
    *current = *pending = (unsigned)atoi(text);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(struct device *device, unsigned *count) {
    ENTER();
    (void)device;
    *count = SLICES;
    return SUCCESS;
}

enum { UNCORRECTED = 1, VOLATILE = 0 };

nvmlReturn_t nvmlDeviceGetTotalEccErrors(struct device *device, int kind, int counter, unsigned long long *count) {
    ENTER();
    const char *text = of_gpu(device->gpu, "ecc");
    if (!text) {
        return NOT_SUPPORTED;
    }
    *count = kind == UNCORRECTED && counter == VOLATILE ? strtoull(text, NULL, 0) : 0;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetRemappedRows(struct device *device, unsigned *corrected, unsigned *uncorrected,
                                       unsigned *pending, unsigned *failed) {
    ENTER();
    const char *text = of_gpu(device->gpu, "remap_failed");
    if (!text) {
        return NOT_SUPPORTED;
    }
    *corrected = *uncorrected = *pending = 0;
    *failed = (unsigned)atoi(text);
    return SUCCESS;
}

struct fabric_info_v2 {
    unsigned version;
    unsigned char cluster_uuid[16];
    nvmlReturn_t status;
    unsigned clique_id;
    unsigned char state;
    unsigned health_mask;
};

nvmlReturn_t nvmlDeviceGetGpuFabricInfoV(struct device *device, struct fabric_info_v2 *info) {
    ENTER();
    if (info->version != (sizeof *info | 2u << 24)) {
        return ARGUMENT_VERSION_MISMATCH;
    }
    info->state = (unsigned char)number_of_gpu(device->gpu, "fabric", 0);
    info->status = (nvmlReturn_t)number_of_gpu(device->gpu, "fabric_status", SUCCESS);
    return SUCCESS;
}

/* Slots are sparse on a real GPU: here every device sits in an odd slot or in slot 0. */
nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(struct device *device, unsigned slot, struct device **handle) {
    ENTER();
    unsigned wanted = (unsigned)number_of_gpu(device->gpu, "mig_devices", 0);
    unsigned rank = slot == 0 ? 0 : (slot + 1) / 2;
    if (slot >= SLICES || (slot != 0 && slot % 2 == 0) || rank >= wanted) {
        return NOT_FOUND;
    }
    *handle = &slices[device->gpu][slot];
    return SUCCESS;
}

#endif
