/* SPDX-License-Identifier: Apache-2.0 */
/* Shards: what is in one, once every byte of it was looked at. vqstore tells more. */
#include "io/store.h"
#include "vqinfo.h"

static void tell_stream(const vqinfo_file *file, const vq_store_stream *stream, json_t *to)
{
    char levels[CLI_K_SIZE], sha[CLI_HEX_SIZE];
    const char *kind = stream->kind ? vq_kind_name(stream->kind) : NULL;
    cli_describe_levels(levels, stream->levels, stream->k);
    cli_hex(sha, stream->model_sha256);
    if (file->json) {
        json_t *json = json_pack("{s:s, s:s?, s:s, s:s}", "name", stream->name, "kind", kind,
                                 "codec", stream->codec, "model", sha);
        json_object_set_new(json, "k", cli_json_levels(stream->levels, stream->k));
        json_array_append_new(to, json);
        return;
    }
    const char *builtin = cli_builtin_of(stream->model_sha256);
    printf("  %-10s %s: %s", "stream", stream->name, levels);
    if (kind)
        printf(", %s", kind);
    if (*stream->codec)
        printf(", codec %s, model %s", stream->codec, builtin ? builtin : sha);
    putchar('\n');
}

vq_status vqinfo_shard(const vqinfo_file *file)
{
    vq_shard *shard;
    vq_shard_info info;
    vq_status status = vq_shard_parse(&shard, file->bytes.data, file->bytes.size, file->name, NULL);
    if (!status)
        status = vq_shard_verify(shard, NULL, NULL);
    if (status) {
        vq_shard_free(shard);
        return status;
    }
    vq_shard_get_info(&info, shard);
    vq_shard_free(shard);
    json_t *streams = file->json ? json_array() : NULL;
    if (file->json) {
        json_object_set_new(file->json, "type", json_string("shard"));
        json_object_set_new(file->json, "packing", json_string(vq_packing_name(info.packing)));
        json_object_set_new(file->json, "records", json_integer((json_int_t)info.records));
        json_object_set_new(file->json, "codes", json_integer((json_int_t)info.codes));
        json_object_set_new(file->json, "streams", streams);
    } else {
        printf("%s: shard of %llu records, %llu codes, %s packing, %zu bytes\n", file->name,
               (unsigned long long)info.records, (unsigned long long)info.codes,
               vq_packing_name(info.packing), file->bytes.size);
    }
    for (uint32_t s = 0; s < info.schema.streams; s++)
        tell_stream(file, &info.schema.stream[s], streams);
    if (!file->json)
        printf("  %-10s yes: every checksum matches, every code is in range\n", "whole");
    return VQ_OK;
}
