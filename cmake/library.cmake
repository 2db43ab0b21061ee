# The static and the shared library from the same objects, their installation, pkg-config and CMake package.
vq_compile_options(vq_objects)
target_compile_definitions(vq_objects PRIVATE VQ_BUILDING)
target_include_directories(vq_objects PRIVATE ${PROJECT_SOURCE_DIR})
target_link_libraries(vq_objects PRIVATE ${LIBVQ_DEPENDENCIES})
set_target_properties(vq_objects PROPERTIES POSITION_INDEPENDENT_CODE ON C_VISIBILITY_PRESET hidden)

add_library(vq_static STATIC $<TARGET_OBJECTS:vq_objects>)
add_library(vq_shared SHARED $<TARGET_OBJECTS:vq_objects>)
set_target_properties(vq_static vq_shared PROPERTIES OUTPUT_NAME vq LINKER_LANGUAGE C)
set_target_properties(vq_shared PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${LIBVQ_SOVERSION}
                                           EXPORT_NAME vq_shared)
foreach(library vq_static vq_shared)
  target_include_directories(
    ${library} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
                      $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/libvq>)
endforeach()
target_link_libraries(vq_shared PRIVATE ${LIBVQ_DEPENDENCIES})
target_link_libraries(vq_static PRIVATE ${LIBVQ_DEPENDENCIES})
if(LIBVQ_SANITIZE)
  target_link_options(vq_shared PRIVATE -fsanitize=${LIBVQ_SANITIZE})
  target_link_options(vq_static INTERFACE -fsanitize=${LIBVQ_SANITIZE})
endif()

if(BUILD_SHARED_LIBS)
  add_library(libvq::vq ALIAS vq_shared)
else()
  add_library(libvq::vq ALIAS vq_static)
endif()
