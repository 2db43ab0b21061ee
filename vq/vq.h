/* SPDX-License-Identifier: Apache-2.0 */
/** @file vq/vq.h  Everything of the room vq/ in one include; rvq/, io/ and codecs/ have their own. */
#ifndef VQ_VQ_H
#define VQ_VQ_H

#include "vq/code_tables.h"
#include "vq/codebook.h"
#include "vq/communicator.h"
#include "vq/cpu.h"
#include "vq/dimensions.h"
#include "vq/export.h"
#include "vq/gradients.h"
#include "vq/kmeans.h"
#include "vq/kmeans_1d.h"
#include "vq/kmeans_balanced.h"
#include "vq/kmeans_minibatch.h"
#include "vq/kmeans_stats.h"
#include "vq/limits.h"
#include "vq/logits.h"
#include "vq/memory.h"
#include "vq/online.h"
#include "vq/quantizer.h"
#include "vq/report.h"
#include "vq/scalar.h"
#include "vq/signal.h"
#include "vq/simvq.h"
#include "vq/simvq_learn.h"
#include "vq/source.h"
#include "vq/status.h"
#include "vq/tensors.h"
#include "vq/tokens.h"

#endif
