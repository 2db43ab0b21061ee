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

/* ISO C wants a declaration in every file. */
extern const unsigned char vqi_model_image[], vqi_model_action[], vqi_model_bins[];
