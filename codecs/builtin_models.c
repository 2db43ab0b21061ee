/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of models/ as read-only data of the library, by the assembler: no generated source of megabytes,
 * and no file to find at run time. VQ_MODELS is the folder. Aligned like any array of ours.
 */
#define EMBED(symbol, file)                                                                        \
    __asm__(".section .rodata, \"a\"\n"                                                            \
            ".balign 64\n"                                                                         \
            ".global " #symbol "\n"                                                                \
            ".hidden " #symbol "\n" #symbol ":\n"                                                  \
            ".incbin \"" VQ_MODELS "/" file "\"\n"                                                 \
            ".global " #symbol "_end\n"                                                            \
            ".hidden " #symbol "_end\n" #symbol "_end:\n"                                          \
            ".byte 0\n"                                                                            \
            ".previous\n")

EMBED(vqi_model_image, "image.safetensors");
#ifdef VQ_AUDIO
EMBED(vqi_model_audio, "audio.safetensors");
#endif
EMBED(vqi_model_action, "action.safetensors");
EMBED(vqi_model_bins, "bins.safetensors");

/* Their SHA-256 in hexadecimal, so that nobody who opens one reads all of it for that. */
extern const char vqi_sha256_image[], vqi_sha256_audio[], vqi_sha256_action[], vqi_sha256_bins[];
const char vqi_sha256_image[] = VQ_SHA256_IMAGE;
#ifdef VQ_AUDIO
const char vqi_sha256_audio[] = VQ_SHA256_AUDIO;
#endif
const char vqi_sha256_action[] = VQ_SHA256_ACTION;
const char vqi_sha256_bins[] = VQ_SHA256_BINS;
