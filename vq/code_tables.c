/* SPDX-License-Identifier: Apache-2.0 */
#include "vq/code_tables.h"

#include <stdio.h>
#include <string.h>

#include "vq/code_tables_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

enum { NAME_SIZE = 256, FREQ_TOTAL = 1 << VQI_FREQ_BITS };

int vqi_code_classes_allocate(vqi_code_classes *c, uint32_t k, uint32_t count)
{
    c->k = k;
    c->count = count;
    c->class_of = vqi_calloc(k, sizeof *c->class_of);
    c->members = vqi_calloc(k, sizeof *c->members);
    c->first = vqi_calloc((size_t)count + 1, sizeof *c->first);
    return c->class_of && c->members && c->first;
}

void vqi_code_classes_clear(vqi_code_classes *c)
{
    vq_free(c->class_of);
    vq_free(c->members);
    vq_free(c->first);
}

int vqi_code_classes_index(vqi_code_classes *c)
{
    uint32_t at[VQ_MAX_CODE_CLASSES];
    memset(c->first, 0, ((size_t)c->count + 1) * sizeof *c->first);
    for (uint32_t i = 0; i < c->k; i++) {
        if (c->class_of[i] >= c->count)
            return 0;
        c->first[c->class_of[i] + 1]++;
    }
    for (uint32_t j = 0; j < c->count; j++) {
        if (!c->first[j + 1])
            return 0;
        at[j] = c->first[j];
        c->first[j + 1] += c->first[j];
    }
    for (uint32_t i = 0; i < c->k; i++)
        c->members[at[c->class_of[i]]++] = (uint16_t)i;
    return 1;
}

int vqi_code_freqs_allocate(vqi_code_freqs *f, const vqi_code_classes *c, uint32_t level)
{
    f->of_class =
        vqi_calloc((size_t)vqi_code_contexts(level, c->count) * c->count, sizeof *f->of_class);
    f->of_code = vqi_calloc(c->k, sizeof *f->of_code);
    f->start = vqi_calloc(c->k, sizeof *f->start);
    return f->of_class && f->of_code && f->start;
}

int vqi_code_freqs_index(vqi_code_freqs *f, const vqi_code_classes *c, uint32_t level)
{
    const uint32_t contexts = vqi_code_contexts(level, c->count);
    for (uint32_t i = 0; i < contexts; i++) {
        uint32_t sum = 0;
        for (uint32_t j = 0; j < c->count; j++) {
            const uint32_t freq = f->of_class[i * c->count + j];
            if (!freq || freq > VQI_FREQ_MOST)
                return 0;
            sum += freq;
        }
        if (sum != FREQ_TOTAL)
            return 0;
    }
    for (uint32_t j = 0; j < c->count; j++) {
        const int only = c->first[j + 1] - c->first[j] == 1;
        uint32_t sum = 0;
        for (uint32_t m = c->first[j]; m < c->first[j + 1]; m++) {
            const uint32_t freq = f->of_code[c->members[m]];
            if (only ? freq != 0 : freq == 0)
                return 0;
            f->start[m] = sum;
            sum += freq;
        }
        if (!only && sum != FREQ_TOTAL)
            return 0;
    }
    return 1;
}

void vq_code_tables_free(vq_code_tables *tables)
{
    if (!tables)
        return;
    for (uint32_t l = 0; l < tables->levels; l++) {
        vqi_code_classes_clear(&tables->classes[l]);
        for (uint32_t s = 0; s < tables->sets; s++) {
            vqi_code_freqs *f = &tables->freqs[s][l];
            vq_free(f->of_class);
            vq_free(f->of_code);
            vq_free(f->start);
        }
    }
    vq_free(tables);
}

uint32_t vq_code_tables_levels(const vq_code_tables *tables)
{
    return tables->levels;
}

uint32_t vq_code_tables_k(const vq_code_tables *tables, uint32_t level)
{
    return level < tables->levels ? tables->classes[level].k : 0;
}

uint32_t vq_code_tables_sets(const vq_code_tables *tables)
{
    return tables->sets;
}

/* prefix + what + "." + level, or with the set before it. */
static vq_status level_name(char name[NAME_SIZE], const char *prefix, const char *what, int set,
                            uint32_t level)
{
    const int length = set < 0 ? snprintf(name, NAME_SIZE, "%s%s.%u", prefix, what, level)
                               : snprintf(name, NAME_SIZE, "%s%d.%s.%u", prefix, set, what, level);
    return length > 0 && length < NAME_SIZE
               ? VQ_OK
               : vqi_fail(VQ_E_ARG, "the prefix of the tables' names is too long");
}

static vq_status plain_name(char name[NAME_SIZE], const char *prefix, const char *what)
{
    const int length = snprintf(name, NAME_SIZE, "%s%s", prefix, what);
    return length > 0 && length < NAME_SIZE
               ? VQ_OK
               : vqi_fail(VQ_E_ARG, "the prefix of the tables' names is too long");
}

/* Every array of a level of a set, by one name each, for saving and for loading alike. */
typedef struct part {
    const char *what;
    uint16_t *data;
    uint32_t ndim;
    size_t shape[2];
} part;

enum { PARTS = 2 };

static void list_parts(part parts[PARTS], const vq_code_tables *t, uint32_t set, uint32_t level)
{
    const vqi_code_classes *c = &t->classes[level];
    const vqi_code_freqs *f = &t->freqs[set][level];
    parts[0] = (part){"contexts", f->of_class, 2, {vqi_code_contexts(level, c->count), c->count}};
    parts[1] = (part){"codes", f->of_code, 1, {c->k, 0}};
}

vq_status vq_code_tables_save(vq_tensors *tensors, const vq_code_tables *tables, const char *prefix)
{
    char name[NAME_SIZE];
    vq_status status = plain_name(name, prefix, "levels");
    if (!status)
        status = vq_tensors_set_uint(tensors, name, tables->levels);
    if (!status)
        status = plain_name(name, prefix, "sets");
    if (!status)
        status = vq_tensors_set_uint(tensors, name, tables->sets);
    for (uint32_t l = 0; !status && l < tables->levels; l++) {
        const size_t k = tables->classes[l].k;
        status = level_name(name, prefix, "classes", -1, l);
        if (!status)
            status = vq_tensors_add(NULL, tensors, name, VQ_DTYPE_U8, 1, &k,
                                    tables->classes[l].class_of);
        for (uint32_t s = 0; !status && s < tables->sets; s++) {
            part parts[PARTS];
            list_parts(parts, tables, s, l);
            for (int i = 0; !status && i < PARTS; i++) {
                status = level_name(name, prefix, parts[i].what, (int)s, l);
                if (!status)
                    status = vq_tensors_add(NULL, tensors, name, VQ_DTYPE_U16, parts[i].ndim,
                                            parts[i].shape, parts[i].data);
            }
        }
    }
    return status;
}

static vq_status load_classes(vqi_code_classes *c, const vq_tensors *tensors, const char *name)
{
    const vq_tensor *tensor = vq_tensors_find(tensors, name);
    if (!tensor || tensor->dtype != VQ_DTYPE_U8 || tensor->ndim != 1 || tensor->shape[0] < 2 ||
        tensor->shape[0] > VQ_MAX_TABLE_CODES)
        return vqi_fail(VQ_E_FORMAT, "the tensor \"%s\" is missing or is not U8 [2 to %d]", name,
                        VQ_MAX_TABLE_CODES);
    const uint8_t *class_of = tensor->data;
    uint32_t count = 0;
    for (size_t i = 0; i < tensor->count; i++)
        count = class_of[i] >= count ? class_of[i] + 1u : count;
    if (count < 2 || count > VQ_MAX_CODE_CLASSES)
        return vqi_fail(VQ_E_FORMAT, "\"%s\" has %u classes (2 to %d)", name, count,
                        VQ_MAX_CODE_CLASSES);
    if (!vqi_code_classes_allocate(c, (uint32_t)tensor->shape[0], count))
        return vqi_fail_nomem(tensor->shape[0]);
    memcpy(c->class_of, class_of, c->k);
    if (!vqi_code_classes_index(c))
        return vqi_fail(VQ_E_FORMAT, "\"%s\" has a class without codes", name);
    return VQ_OK;
}

static vq_status load_set(vq_code_tables *t, uint32_t set, uint32_t level,
                          const vq_tensors *tensors, const char *prefix)
{
    char name[NAME_SIZE];
    vqi_code_freqs *f = &t->freqs[set][level];
    if (!vqi_code_freqs_allocate(f, &t->classes[level], level))
        return vqi_fail_nomem(t->classes[level].k);
    part parts[PARTS];
    list_parts(parts, t, set, level);
    for (int i = 0; i < PARTS; i++) {
        const vq_status status = level_name(name, prefix, parts[i].what, (int)set, level);
        if (status)
            return status;
        const vq_tensor *tensor = vq_tensors_find(tensors, name);
        if (!tensor || tensor->dtype != VQ_DTYPE_U16 || tensor->ndim != parts[i].ndim ||
            tensor->shape[0] != parts[i].shape[0] ||
            (tensor->ndim == 2 && tensor->shape[1] != parts[i].shape[1]))
            return vqi_fail(VQ_E_FORMAT,
                            "the tensor \"%s\" is missing or does not fit the classes of its level",
                            name);
        memcpy(parts[i].data, tensor->data, tensor->count * sizeof(uint16_t));
    }
    if (!vqi_code_freqs_index(f, &t->classes[level], level))
        return vqi_fail(VQ_E_FORMAT, "the frequencies of level %u of set %u do not add up", level,
                        set);
    return VQ_OK;
}

static vq_status load(vq_code_tables *t, const vq_tensors *tensors, const char *prefix)
{
    char name[NAME_SIZE];
    uint64_t levels, sets;
    vq_status status = plain_name(name, prefix, "levels");
    if (!status)
        status = vq_tensors_get_uint(&levels, tensors, name, 1, VQ_MAX_LEVELS);
    if (!status)
        status = plain_name(name, prefix, "sets");
    if (!status)
        status = vq_tensors_get_uint(&sets, tensors, name, 1, VQ_MAX_TABLE_SETS);
    if (status)
        return status;
    t->levels = (uint32_t)levels;
    t->sets = (uint32_t)sets;
    for (uint32_t l = 0; !status && l < t->levels; l++) {
        status = level_name(name, prefix, "classes", -1, l);
        if (!status)
            status = load_classes(&t->classes[l], tensors, name);
        for (uint32_t s = 0; !status && s < t->sets; s++)
            status = load_set(t, s, l, tensors, prefix);
    }
    return status;
}

vq_status vq_code_tables_load(vq_code_tables **out, const vq_tensors *tensors, const char *prefix)
{
    *out = NULL;
    char name[NAME_SIZE];
    vq_status status = plain_name(name, prefix, "levels");
    if (status || !vq_tensors_get(tensors, name))
        return status;
    vq_code_tables *tables = vqi_calloc(1, sizeof *tables);
    if (!tables)
        return vqi_fail_nomem(sizeof *tables);
    status = load(tables, tensors, prefix);
    if (status) {
        vq_code_tables_free(tables);
        return status;
    }
    *out = tables;
    return VQ_OK;
}
