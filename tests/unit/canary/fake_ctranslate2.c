/* The functions that the canary calls, in one library that plays CTranslate2, its cuDNN dispatch library, or cuBLAS.
 *
 * Settings (see ../../fakehw/settings.h): the name of any function, with a code, `hang`, `crash`, `abort` or `flood`.
 */
#include "../../fakehw/settings.h"

#include <dlfcn.h>
#include <stdint.h>

#define ANSWERS(name)                                                                                                  \
    int name(void **handle) {                                                                                          \
        (void)handle;                                                                                                  \
        return misbehave(__func__);                                                                                    \
    }

#ifdef CUDNN
ANSWERS(cudnnCreate)
ANSWERS(cudnnCreateTensorDescriptor)
ANSWERS(cudnnCreateConvolutionDescriptor)
ANSWERS(cudnnGraphVersionCheck)
ANSWERS(cudnnOpsVersionCheck)
ANSWERS(cudnnCnnVersionCheck)

size_t cudnnGetVersion(void) {
    int told = misbehave(__func__);
    return told ? (size_t)told : 90100;
}

/* Plays a driver: 1 when every device is hidden from it. */
size_t cudnnGetCudartVersion(void) {
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    return visible && !*visible ? 1 : 2;
}

int cudnnBackendCreateDescriptor(int type, void **descriptor) {
    (void)type;
    *descriptor = NULL;
    return misbehave(__func__);
}

int cudnnBackendFinalize(void *descriptor) {
    (void)descriptor;
    return misbehave(__func__);
}
#endif

#ifdef CTRANSLATE2
int cublasCreate_v2(void **handle) {
    (void)handle;
    if (!dlopen("libcublas.so.12", RTLD_NOW)) {
        fprintf(stderr, "  what():  Library libcublas.so.12 is not found or cannot be loaded\n");
        abort();
    }
    return 1;
}
#endif

#ifdef CUBLAS
int cublasGetProperty(int kind, int *value) {
    static const int version[] = {12, 4, 5};
    *value = version[kind];
    return misbehave(__func__);
}
#endif
