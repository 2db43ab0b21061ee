/* SPDX-License-Identifier: Apache-2.0 */
/** @file tests/unit/damage_support.h  Tensors and settings that do not fit each other, made of good ones. */
#ifndef DAMAGE_SUPPORT_H
#define DAMAGE_SUPPORT_H

#include <math.h>

#include "test_support.h"

/** Every tensor of one set is in the other. */
static inline void assert_same_tensors(const vq_tensors *one, const vq_tensors *two)
{
    for (size_t i = 0; i < vq_tensors_count(one); i++) {
        const vq_tensor *a = vq_tensors_at(one, i), *b = vq_tensors_find(two, a->name);
        assert_non_null(b);
        assert_int_equal(a->dtype, b->dtype);
        assert_int_equal(a->ndim, b->ndim);
        assert_memory_equal(a->shape, b->shape, a->ndim * sizeof *a->shape);
        assert_memory_equal(a->data, b->data, a->count * vq_dtype_size(a->dtype));
    }
}

/** What is done to one tensor, or to one setting. */
typedef enum damage {
    DAMAGE_NONE,
    DAMAGE_LEFT_OUT,
    DAMAGE_OTHER_TYPE, /* a setting: no word or number of ours */
    DAMAGE_MORE_DIMENSIONS,
    DAMAGE_FEWER_ROWS,
    DAMAGE_NARROWER,
    DAMAGE_NOT_FINITE,
    DAMAGES
} damage;

/* One tensor, damaged, to a set. @return 0 if this cannot be done to it. */
static inline int damage_tensor(vq_tensors *to, const vq_tensor *own, damage what)
{
    vq_tensor *put;
    size_t shape[VQ_MAX_NDIM];
    vq_dtype dtype = own->dtype;
    uint32_t ndim = own->ndim;
    memcpy(shape, own->shape, sizeof shape);
    const int is_float = dtype == VQ_DTYPE_F32 || dtype == VQ_DTYPE_F16 || dtype == VQ_DTYPE_BF16;
    if (what == DAMAGE_LEFT_OUT)
        return 1;
    if (what == DAMAGE_OTHER_TYPE)
        dtype = is_float ? VQ_DTYPE_I32 : VQ_DTYPE_F32;
    if (what == DAMAGE_MORE_DIMENSIONS)
        shape[ndim++] = 1;
    if ((what == DAMAGE_FEWER_ROWS && !shape[0]--) ||
        (what == DAMAGE_NARROWER && (ndim < 2 || !shape[ndim - 1]--)) ||
        (what == DAMAGE_NOT_FINITE && (!is_float || !own->count)))
        return 0;
    assert_ok(vq_tensors_add(&put, to, own->name, dtype, ndim, shape, NULL));
    if (what == DAMAGE_OTHER_TYPE)
        return 1;
    memcpy(put->data, own->data, put->count * vq_dtype_size(dtype));
    if (what == DAMAGE_NOT_FINITE) {
        static const uint8_t ones[4] = {0xff, 0xff, 0xff, 0xff};
        memcpy((char *)put->data + (put->count - 1) * vq_dtype_size(dtype), ones,
               vq_dtype_size(dtype));
    }
    return 1;
}

/** A set with one thing damaged: tensor number `at`, or after them setting number at - tensors. @return NULL if it cannot be. */
static inline vq_tensors *damaged_copy(const vq_tensors *of, size_t at, damage what)
{
    const size_t tensors = vq_tensors_count(of);
    const char *key, *value;
    vq_tensors *copy;
    int done = 1;
    assert_ok(vq_tensors_create(&copy));
    for (size_t i = 0; i < tensors; i++)
        done &= damage_tensor(copy, vq_tensors_at(of, i), i == at ? what : DAMAGE_NONE);
    for (size_t i = 0; !vq_tensors_setting_at(&key, &value, of, i); i++) {
        const int this = tensors + i == at;
        if (!this || what != DAMAGE_LEFT_OUT)
            assert_ok(vq_tensors_set(copy, key, this ? "1e9x" : value));
        done &= !this || what <= DAMAGE_OTHER_TYPE;
    }
    if (done)
        return copy;
    vq_tensors_free(copy);
    return NULL;
}

/**
 * Every tensor and every setting is left out, of another type, of another shape, not a number. Each time the load must fail, with a
 * status of the bytes' family, or it made exactly what the damaged set says: another, smaller quantizer, or one without what
 * a file may leave out.
 * @param reload loads, and on VQ_OK saves what it loaded to a new set.
 */
static inline void check_damages(const vq_tensors *good,
                                 vq_status (*reload)(vq_tensors **again, const vq_tensors *tensors))
{
    const char *key, *value;
    size_t things = vq_tensors_count(good), refused = 0;
    for (size_t i = 0; !vq_tensors_setting_at(&key, &value, good, i); i++)
        things++;
    for (size_t at = 0; at < things; at++)
        for (damage what = DAMAGE_LEFT_OUT; what < DAMAGES; what++) {
            vq_tensors *tensors = damaged_copy(good, at, what), *again = NULL;
            if (!tensors)
                continue;
            const vq_status status = reload(&again, tensors);
            const int of_tensor = at < vq_tensors_count(good);
            const char *name = of_tensor ? vq_tensors_at(good, at)->name : "a setting";
            if (status != VQ_OK && status != VQ_E_FORMAT && status != VQ_E_NONFINITE &&
                status != VQ_E_UNSUPPORTED && status != VQ_E_LIMIT)
                fail_msg("%s, damage %d: %s (%s)", name, (int)what, vq_status_name(status),
                         vq_last_error());
            if (!status && (what == DAMAGE_NOT_FINITE || what == DAMAGE_OTHER_TYPE ||
                            what == DAMAGE_MORE_DIMENSIONS))
                fail_msg("%s, damage %d: loaded", name, (int)what);
            if (!status && of_tensor)
                assert_same_tensors(again, tensors);
            refused += status != VQ_OK;
            vq_tensors_free(tensors);
            vq_tensors_free(again);
        }
    assert_true(refused > things);
}

#endif
