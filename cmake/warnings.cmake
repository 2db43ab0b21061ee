# vq_compile_options(target): the language, the warnings and the sanitizers of every target of ours.
function(vq_compile_options target)
  set_target_properties(${target} PROPERTIES C_STANDARD 11 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF)
  target_compile_definitions(${target} PRIVATE _POSIX_C_SOURCE=200809L _DEFAULT_SOURCE)
  # -ffp-contract=off: the contract of vq/codebook.h is exact, so no fused multiply-adds behind our back.
  target_compile_options(
    ${target}
    PRIVATE -Wall
            -Wextra
            -Wstrict-prototypes
            -Wmissing-prototypes
            -Wshadow
            -Wvla
            -Wpointer-arith
            -Wwrite-strings
            -Wformat=2
            -ffp-contract=off
            -fstack-protector-strong
            $<$<BOOL:${LIBVQ_WERROR}>:-Werror>)
  if(LIBVQ_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${LIBVQ_SANITIZE} -fno-sanitize-recover=all
                                             -fno-omit-frame-pointer)
    target_link_options(${target} PRIVATE -fsanitize=${LIBVQ_SANITIZE})
  elseif(CMAKE_BUILD_TYPE MATCHES "Rel")
    target_compile_definitions(${target} PRIVATE _FORTIFY_SOURCE=2)
  endif()
endfunction()
