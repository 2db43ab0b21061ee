/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "io/store_internal.h"
#include "vq/error_internal.h"

/* What was found, and whom to tell. */
typedef struct report {
    const vq_shard *shard;
    vq_shard_damage damage;
    void *context;
    vq_status first; /* fault */
    char sentence[512];
} report;

/* A fault, whose sentence is vq_last_error(). @return VQ_OK to go on. */
static vq_status fault(report *r, uint64_t record, vq_status status)
{
    if (status == VQ_E_NOMEM)
        return status;
    if (!r->first) {
        r->first = status;
        snprintf(r->sentence, sizeof r->sentence, "%s", vq_last_error());
    }
    if (!r->damage)
        return status;
    return r->damage(r->context, record, status, vq_last_error())
               ? vqi_fail(VQ_E_CANCELLED, "verifying was stopped")
               : VQ_OK;
}

static vq_status block_fault(report *r, const vqi_block *b, vq_status status)
{
    char range[64];
    snprintf(range, sizeof range, "block of records %llu to %llu", (unsigned long long)b->first,
             (unsigned long long)(b->first + b->count - 1));
    return fault(r, UINT64_MAX, vqi_fail_in(status, range));
}

/* The block's own table against the index. */
static vq_status check_table(report *r, vqi_block *b)
{
    const vq_shard *shard = r->shard;
    const uint8_t *bytes;
    uint32_t length, crc;
    vq_status status = VQ_OK;
    while (!status && vqi_block_next(b, &bytes, &length, &crc)) {
        const uint64_t number = b->first + b->next - 1, at = (uint64_t)(bytes - shard->data);
        vq_shard_row row;
        if (number >= shard->footer.records)
            return block_fault(r, b,
                               vqi_fail(VQ_E_FORMAT, "it has more records than the footer says"));
        /* A row that is damaged is told of with its record. */
        if (vqi_row_read(&row, shard->data + shard->footer.index + number * VQI_ROW_SIZE) &&
            (row.offset != at || row.length != length || row.crc != crc))
            status =
                fault(r, number,
                      vqi_fail(VQ_E_FORMAT, "record %llu: its block and the index do not agree",
                               (unsigned long long)number));
    }
    if (!status && (b->next < b->count || b->at != b->end))
        status = block_fault(r, b, vqi_fail(VQ_E_FORMAT, "its records do not fill it"));
    return status;
}

static vq_status check_block(report *r, const vqi_chunk *chunk, uint64_t *next)
{
    vqi_block block = {0};
    vq_status status = vqi_block_open(&block, chunk, r->shard->head.packing);
    const vq_status sum = vqi_chunk_check(chunk);
    if (sum && (status || block.first != *next))
        return fault(r, UINT64_MAX, sum);
    if (sum) { /* its records are looked at one by one */
        *next += block.count;
        return block_fault(r, &block, sum);
    }
    if (!status && block.first != *next)
        status =
            vqi_fail(VQ_E_FORMAT, "byte %zu: a block begins with record %llu, not %llu",
                     chunk->offset, (unsigned long long)block.first, (unsigned long long)*next);
    if (status)
        return fault(r, UINT64_MAX, status);
    *next += block.count;
    return check_table(r, &block);
}

static vq_status check_known(report *r, const vqi_chunk *chunk)
{
    const vqi_footer *f = &r->shard->footer;
    const size_t payload = chunk->offset + VQI_CHUNK_HEADER;
    vq_status status = vqi_chunk_check(chunk);
    const int known = !strcmp(chunk->type, "RIDX")   ? payload == f->index
                      : !strcmp(chunk->type, "KIDX") ? payload == f->keys_index
                      : !strcmp(chunk->type, "SEND")
                          ? payload + VQI_FOOTER_SIZE + 4 == r->shard->size
                          : chunk->type[0] & 0x20;
    if (!status && !known)
        status = vqi_fail(VQ_E_FORMAT, "byte %zu: a chunk %s that does not belong there",
                          chunk->offset, chunk->type);
    return status ? fault(r, UINT64_MAX, status) : VQ_OK;
}

/* Every chunk from the first block to the footer. */
static vq_status check_chunks(report *r)
{
    const vq_shard *shard = r->shard;
    vqi_cursor cursor = vqi_cursor_of(shard->data, shard->size);
    cursor.at += shard->head_end; /* opening it has looked at what is before */
    uint64_t next = 0, blocks = 0;
    vqi_chunk chunk = {0};
    vq_status status = VQ_OK;
    while (!status && strcmp(chunk.type, "SEND") != 0) {
        vq_status frame = vqi_chunk_skip_padding(&cursor);
        if (!frame)
            frame = vqi_chunk_take(&chunk, &cursor);
        if (frame) /* where the next one begins is not known: the records are looked at by the index */
            return fault(r, UINT64_MAX, frame);
        const int block = !strcmp(chunk.type, "BLCK");
        blocks += block ? 1 : 0;
        status = block ? check_block(r, &chunk, &next) : check_known(r, &chunk);
    }
    if (!status && (blocks != shard->footer.blocks || next != shard->footer.records))
        status = fault(r, UINT64_MAX,
                       vqi_fail(VQ_E_FORMAT,
                                "the footer says %llu records in %llu blocks; %llu in %llu blocks "
                                "were found whole",
                                (unsigned long long)shard->footer.records,
                                (unsigned long long)shard->footer.blocks, (unsigned long long)next,
                                (unsigned long long)blocks));
    return status;
}

/* A record's label and codes are those of its row. */
static vq_status compare_row(const vq_shard *shard, const vq_record *record, uint64_t *codes)
{
    vq_shard_row row;
    const vq_status status = vq_shard_get_row(&row, shard, record->number);
    if (status)
        return status;
    uint64_t count = 0;
    for (uint32_t i = 0; i < record->streams; i++)
        if (record->tokens[i])
            count += vq_tokens_positions(record->tokens[i]) * record->tokens[i]->levels;
    *codes += count;
    const int has_label = record->info.has_label && record->info.label != VQI_NO_LABEL;
    return row.codes == count && row.has_label == has_label &&
                   (!has_label || row.label == record->info.label)
               ? VQ_OK
               : vqi_fail(VQ_E_FORMAT,
                          "record %llu: the index says another label or number of "
                          "codes than the record",
                          (unsigned long long)record->number);
}

static vq_status check_records(report *r)
{
    const vq_shard *shard = r->shard;
    uint64_t codes = 0, keys = 0, bad = 0;
    vq_record *record;
    vq_status status = vq_record_create(&record);
    for (uint64_t i = 0; !status && i < shard->footer.records; i++) {
        vq_status one = vq_shard_read(record, shard, i);
        if (!one)
            one = compare_row(shard, record, &codes);
        if (one) {
            bad++;
            status = fault(r, i, one);
            continue;
        }
        keys += record->info.key ? 1 : 0;
    }
    vq_record_free(record);
    if (!status && !bad && (codes != shard->footer.codes || keys != shard->footer.keys))
        status = fault(r, UINT64_MAX,
                       vqi_fail(VQ_E_FORMAT,
                                "the footer says %llu codes and %llu keys; the records "
                                "have %llu and %llu",
                                (unsigned long long)shard->footer.codes,
                                (unsigned long long)shard->footer.keys, (unsigned long long)codes,
                                (unsigned long long)keys));
    return status;
}

/* Every row of the index of keys names a record with a key of that hash, in order. */
static vq_status check_keys(report *r)
{
    const vq_shard *shard = r->shard;
    const vqi_footer *f = &shard->footer;
    const uint8_t *rows = shard->data + f->keys_index;
    vq_status status = VQ_OK;
    for (uint64_t i = 0; !status && i < f->keys; i++) {
        const uint64_t hash = vqi_load_u64(rows + i * VQI_KEY_SIZE),
                       number = vqi_load_u64(rows + i * VQI_KEY_SIZE + 8);
        const uint8_t *before = i ? rows + (i - 1) * VQI_KEY_SIZE : NULL, *bytes;
        const bool ordered = !before || vqi_load_u64(before) < hash ||
                             (vqi_load_u64(before) == hash && vqi_load_u64(before + 8) < number);
        vq_shard_row row;
        vqi_record_peek peek;
        bool good = ordered && number < f->records;
        /* A damaged record has been told of. */
        if (good && !vqi_shard_bytes(&bytes, &row, shard, number) &&
            !vqi_record_peek_at(&peek, &shard->head, bytes, row.length, &shard->limits))
            good = peek.key && vqi_key_hash(peek.key, peek.key_size) == hash;
        if (!good)
            status = fault(r, UINT64_MAX,
                           vqi_fail(VQ_E_FORMAT, "row %llu of the index of keys cannot be",
                                    (unsigned long long)i));
    }
    return status;
}

vq_status vq_shard_verify(const vq_shard *shard, vq_shard_damage damage, void *context)
{
    report r = {.shard = shard, .damage = damage, .context = context};
    vq_status status = check_chunks(&r);
    if (!status)
        status = check_records(&r);
    if (!status)
        status = check_keys(&r);
    if (!status && r.first)
        status = vqi_fail(r.first, "%s", r.sentence);
    if (!status)
        return VQ_OK;
    /* What a record's reading says has the name already. */
    const int named = shard->name && !strncmp(vq_last_error(), shard->name, strlen(shard->name));
    return shard->name && !named ? vqi_fail_in(status, shard->name) : status;
}
