/* SPDX-License-Identifier: Apache-2.0 */
#include "cli_codec.h"

#include <math.h>
#include <string.h>

void cli_hex(char out[CLI_HEX_SIZE], const uint8_t digest[VQ_SHA256_SIZE])
{
    for (int i = 0; i < VQ_SHA256_SIZE; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

const char *cli_builtin_of(const uint8_t digest[VQ_SHA256_SIZE])
{
    const char *name;
    for (size_t i = 0; (name = vq_codec_builtin(i)); i++) {
        uint8_t own[VQ_SHA256_SIZE];
        if (vq_codec_builtin_sha256(own, name) == VQ_OK && memcmp(own, digest, sizeof own) == 0)
            return name;
    }
    return NULL;
}

void cli_describe_levels(char out[CLI_K_SIZE], uint32_t levels, const uint32_t *k)
{
    uint32_t same = 1;
    while (same < levels && k[same] == k[0])
        same++;
    size_t used =
        (size_t)snprintf(out, CLI_K_SIZE, "%u level%s of %u", levels, levels == 1 ? "" : "s", k[0]);
    for (uint32_t i = 1; same < levels && i < levels && used < CLI_K_SIZE; i++)
        used += (size_t)snprintf(out + used, CLI_K_SIZE - used, ", %u", k[i]);
}

json_t *cli_json_levels(uint32_t levels, const uint32_t *k)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < levels; i++)
        json_array_append_new(array, json_integer(k[i]));
    return array;
}

const char *cli_channels_name(size_t channels)
{
    static const char *const names[] = {"?", "grey", "grey + alpha", "RGB", "RGBA"};
    return names[channels <= 4 ? channels : 0];
}

double cli_sites(const size_t shape[3])
{
    return (double)shape[0] * (double)shape[1];
}

double cli_bits_per_pixel(uint64_t bytes, const size_t shape[3])
{
    return 8.0 * (double)bytes / cli_sites(shape);
}

uint32_t cli_level_rows(vq_level_report rows[VQ_MAX_LEVELS], const vq_report *report,
                        uint32_t levels)
{
    uint32_t count = 0;
    while (count < levels && count < VQ_MAX_LEVELS &&
           vq_report_level(&rows[count], report, count) == VQ_OK)
        count++;
    return count;
}

void cli_print_levels(FILE *to, const vq_level_report *rows, uint32_t levels)
{
    fputs("level       K    used    dead    used %  perplexity  bits/code         mse    snr dB\n",
          to);
    for (uint32_t i = 0; i < levels; i++) {
        const vq_level_report *row = &rows[i];
        fprintf(to, "%5u %7u %7u %7u %9.2f %11.2f %10.3f", i, row->k, row->used, row->dead,
                100 * row->utilisation, row->perplexity, row->entropy_bits);
        if (isnan(row->mse))
            fprintf(to, " %11s", "-");
        else
            fprintf(to, " %11.5g", row->mse);
        cli_print_real(to, 10, 3, row->snr_db);
        fputc('\n', to);
    }
}

json_t *cli_json_level_rows(const vq_level_report *rows, uint32_t levels)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < levels; i++)
        json_array_append_new(
            array,
            json_pack("{si sI sI sI so so so so so}", "level", (int)i, "k", (json_int_t)rows[i].k,
                      "used", (json_int_t)rows[i].used, "dead", (json_int_t)rows[i].dead,
                      "utilisation", cli_json_real(rows[i].utilisation), "entropy_bits",
                      cli_json_real(rows[i].entropy_bits), "perplexity",
                      cli_json_real(rows[i].perplexity), "mse", cli_json_real(rows[i].mse),
                      "snr_db", cli_json_real(rows[i].snr_db)));
    return array;
}
