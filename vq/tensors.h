/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/tensors.h
 * Named arrays with settings: what a quantizer or codec is saved to and made from. io/safetensors.h
 * reads and writes them, so that the quantizers never touch a file.
 */
#ifndef VQ_TENSORS_H
#define VQ_TENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "vq/limits.h"
#include "vq/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Element types. Values in memory are in the machine's byte order. */
typedef enum vq_dtype {
    VQ_DTYPE_F32 = 0, /**< so that a zeroed option means float32 */
    VQ_DTYPE_F64,
    VQ_DTYPE_F16,
    VQ_DTYPE_BF16,
    VQ_DTYPE_I8,
    VQ_DTYPE_I16,
    VQ_DTYPE_I32,
    VQ_DTYPE_I64,
    VQ_DTYPE_U8,
    VQ_DTYPE_U16,
    VQ_DTYPE_U32,
    VQ_DTYPE_U64,
    VQ_DTYPE_BOOL
} vq_dtype;

/** @return bytes of one element; 0 for a number that is not a vq_dtype. */
VQ_API size_t vq_dtype_size(vq_dtype dtype);
/** @return "F32", "BF16", ... as safetensors spells them; "?" for a number that is not a vq_dtype. */
VQ_API const char *vq_dtype_name(vq_dtype dtype);

/** One array, row-major. Borrowed from the vq_tensors that holds it. */
typedef struct vq_tensor {
    const char *name;
    vq_dtype dtype;
    uint32_t ndim; /**< 0 (one element) to VQ_MAX_NDIM */
    size_t shape[VQ_MAX_NDIM];
    size_t count; /**< elements, the product of the shape; 0 is allowed */
    void *data;   /**< count * vq_dtype_size(dtype) bytes, 64-byte aligned */
} vq_tensor;

/**
 * @return a view of an array in the caller's memory, without a name, for functions that take a tensor: rows x columns, or with
 * columns = 0 a row of `rows` numbers. Nothing to free; `data` is only read.
 */
VQ_API vq_tensor vq_tensor_from_memory(const void *data, vq_dtype dtype, size_t rows,
                                       size_t columns);

/** An ordered set of tensors and an ordered set of settings (text to text); names are unique. */
typedef struct vq_tensors vq_tensors;

/** @return VQ_OK or VQ_E_NOMEM. */
VQ_API vq_status vq_tensors_create(vq_tensors **out);
VQ_API void vq_tensors_free(vq_tensors *tensors);

/**
 * Add an array.
 * @param[out] out  the new tensor, borrowed, or NULL if the caller does not need it.
 * @param      name unique in the set, copied, not empty.
 * @param      data copied if not NULL; else the new array is zeroed and may be filled through out->data.
 * @return VQ_OK, VQ_E_ARG (name taken or empty, ndim, size overflow), VQ_E_NOMEM.
 */
VQ_API vq_status vq_tensors_add(vq_tensor **out, vq_tensors *tensors, const char *name,
                                vq_dtype dtype, uint32_t ndim, const size_t *shape,
                                const void *data);

/** @return how many tensors there are. */
VQ_API size_t vq_tensors_count(const vq_tensors *tensors);
/** @return the i-th in order of adding; NULL if there is none. Borrowed; valid until the next add. */
VQ_API const vq_tensor *vq_tensors_at(const vq_tensors *tensors, size_t i);
/** @return the tensor of that name, or NULL. Borrowed; valid until the next add. */
VQ_API const vq_tensor *vq_tensors_find(const vq_tensors *tensors, const char *name);

/** Set a setting, replacing one of the same key; both texts are copied. @return VQ_OK, VQ_E_NOMEM. */
VQ_API vq_status vq_tensors_set(vq_tensors *tensors, const char *key, const char *value);
/** @return the setting's text, borrowed; NULL if it is not set. */
VQ_API const char *vq_tensors_get(const vq_tensors *tensors, const char *key);
/** @return VQ_OK with the i-th setting in order, borrowed; VQ_E_ARG past the last. */
VQ_API vq_status vq_tensors_setting_at(const char **key, const char **value,
                                       const vq_tensors *tensors, size_t i);

/** Set a setting to a decimal number. @return VQ_OK, VQ_E_NOMEM. */
VQ_API vq_status vq_tensors_set_uint(vq_tensors *tensors, const char *key, uint64_t value);
/**
 * Read a setting as a decimal number.
 * @return VQ_OK; VQ_E_FORMAT if it is missing, not a number, or not in [low, high]; the sentence names it.
 */
VQ_API vq_status vq_tensors_get_uint(uint64_t *value, const vq_tensors *tensors, const char *key,
                                     uint64_t low, uint64_t high);

/**
 * Convert elements to float32: every dtype but BOOL (0 and 1) rounds to nearest even.
 * @param[out] out   count floats.
 * @param      first index of the first element.
 * @return VQ_OK, or VQ_E_ARG if first + count is past the end.
 */
VQ_API vq_status vq_tensor_to_f32(float *out, const vq_tensor *tensor, size_t first, size_t count);

/** float32 to F16 and BF16 bits, to nearest even; NaN stays NaN; too large becomes infinity. */
VQ_API uint16_t vq_f32_to_f16(float value);
VQ_API float vq_f16_to_f32(uint16_t bits);
VQ_API uint16_t vq_f32_to_bf16(float value);
VQ_API float vq_bf16_to_f32(uint16_t bits);

#ifdef __cplusplus
}
#endif
#endif
