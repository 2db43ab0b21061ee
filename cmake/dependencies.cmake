# What libvq links, all from Debian 12. One line each on why is in README.md.
find_package(PkgConfig REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS C)
find_package(PNG 1.6 REQUIRED)
find_package(JPEG REQUIRED)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson>=2.14)
pkg_check_modules(LIBMD REQUIRED IMPORTED_TARGET libmd)
pkg_check_modules(SNDFILE REQUIRED IMPORTED_TARGET sndfile>=1.2)
pkg_check_modules(SAMPLERATE REQUIRED IMPORTED_TARGET samplerate)
# The same list stands in libvq-config.cmake.in and libvq.pc.in for those who link the static library.
set(LIBVQ_DEPENDENCIES PNG::PNG JPEG::JPEG PkgConfig::JANSSON PkgConfig::LIBMD PkgConfig::SNDFILE PkgConfig::SAMPLERATE m)
