# cmake --install: headers, both libraries, the CMake package and libvq.pc; tools/ installs the programs itself.
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/libvq)

foreach(header IN LISTS LIBVQ_PUBLIC_HEADERS)
  get_filename_component(room ${header} DIRECTORY)
  install(FILES ${PROJECT_SOURCE_DIR}/${header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/libvq/${room})
endforeach()
install(FILES ${PROJECT_SOURCE_DIR}/python/libvq_store.py ${PROJECT_SOURCE_DIR}/python/libvq.py
        DESTINATION ${CMAKE_INSTALL_DATADIR}/libvq/python)
# Two sets: who links the shared library need not have what the static one links.
foreach(kind shared static)
  install(TARGETS vq_${kind} EXPORT libvq-${kind})
  install(EXPORT libvq-${kind} FILE libvq-${kind}-targets.cmake NAMESPACE libvq:: DESTINATION ${package_dir})
endforeach()

get_target_property(LIBVQ_DEFAULT libvq::vq ALIASED_TARGET)
configure_package_config_file(cmake/libvq-config.cmake.in libvq-config.cmake
                              INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO)
# While the major version is 0 a minor release may break the interface.
write_basic_package_version_file(libvq-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/libvq-config.cmake ${PROJECT_BINARY_DIR}/libvq-config-version.cmake
        DESTINATION ${package_dir})

# Paths relative to the file itself: cmake --install --prefix may choose another prefix than configuration did.
file(RELATIVE_PATH LIBVQ_PC_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
cmake_path(APPEND LIBVQ_PC_INCLUDEDIR "\${prefix}" ${CMAKE_INSTALL_INCLUDEDIR})
cmake_path(APPEND LIBVQ_PC_LIBDIR "\${prefix}" ${CMAKE_INSTALL_LIBDIR})
set(modules ${LIBVQ_MODULES})
list(REMOVE_ITEM modules sndfile) # in Libs.private by name
list(JOIN modules " " LIBVQ_PC_MODULES)
configure_file(cmake/libvq.pc.in libvq.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/libvq.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
