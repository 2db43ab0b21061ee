# The public headers: what an installed program may include. Everything else ends in _internal.h or _priv.h.
# The test style.headers compares this list with the tree.
set(LIBVQ_PUBLIC_HEADERS
    vq/code_tables.h
    vq/codebook.h
    vq/communicator.h
    vq/cpu.h
    vq/dimensions.h
    vq/export.h
    vq/gradients.h
    vq/kmeans.h
    vq/kmeans_1d.h
    vq/kmeans_balanced.h
    vq/kmeans_minibatch.h
    vq/kmeans_stats.h
    vq/limits.h
    vq/logits.h
    vq/memory.h
    vq/online.h
    vq/quantizer.h
    vq/report.h
    vq/scalar.h
    vq/signal.h
    vq/simvq.h
    vq/simvq_learn.h
    vq/source.h
    vq/status.h
    vq/tensors.h
    vq/tokens.h
    vq/vq.h
    rvq/head.h
    rvq/multiscale.h
    rvq/product.h
    rvq/projected.h
    rvq/residual.h
    rvq/scalar_train.h
    rvq/split.h
    io/actions.h
    io/csv.h
    io/digest.h
    io/file.h
    io/image.h
    io/npy.h
    io/npy_source.h
    io/npz.h
    io/resample.h
    io/safetensors.h
    io/sound.h
    io/store.h
    io/store_model.h
    io/store_set.h
    io/store_write.h
    io/tokens_file.h
    codecs/action.h
    codecs/action_metrics.h
    codecs/audio_metrics.h
    codecs/codec.h
    codecs/fast.h
    codecs/image_metrics.h
    codecs/stream.h
    codecs/train.h
    augment/augment.h
    augment/corruption.h
    augment/depth_mask.h)

# The release has one number, in vq/export.h.
function(vq_read_version out)
  file(STRINGS ${CMAKE_CURRENT_SOURCE_DIR}/vq/export.h lines REGEX "#define VQ_VERSION_(MAJOR|MINOR|PATCH) [0-9]+")
  list(TRANSFORM lines REPLACE ".* " "")
  list(JOIN lines . version)
  set(${out} ${version} PARENT_SCOPE)
endfunction()
