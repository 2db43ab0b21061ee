/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IO_SOUND_INTERNAL_H
#define IO_SOUND_INTERNAL_H

#include <stdint.h>

#include "io/sound.h"

/** Is this format of libsndfile's let in? @return its name and bits, or NULL. */
const char *vqi_sound_allowed(int format, uint32_t *bits);

/** Put the source's name before the sentence of a failure. */
vq_status vqi_sound_named(const vq_sound_source *source, vq_status status);

#endif
