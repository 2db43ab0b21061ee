# The static and the shared library from the same objects.
vq_compile_options(vq_objects)
target_compile_definitions(vq_objects PRIVATE VQ_BUILDING)
target_include_directories(vq_objects PRIVATE ${PROJECT_SOURCE_DIR})
target_link_libraries(vq_objects PRIVATE ${LIBVQ_DEPENDENCIES} OpenMP::OpenMP_C)
set_target_properties(vq_objects PROPERTIES POSITION_INDEPENDENT_CODE ON C_VISIBILITY_PRESET hidden)

# io/ reads untrusted bytes: no conversion there may lose anything silently.
get_target_property(sources vq_objects SOURCES)
list(FILTER sources INCLUDE REGEX "/io/[^/]+\\.c$")
set_property(SOURCE ${sources} APPEND PROPERTY COMPILE_OPTIONS -Wconversion)

add_library(vq_static STATIC $<TARGET_OBJECTS:vq_objects>)
add_library(vq_shared SHARED $<TARGET_OBJECTS:vq_objects>)
set_target_properties(vq_static vq_shared PROPERTIES OUTPUT_NAME vq LINKER_LANGUAGE C)
set_target_properties(vq_shared PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${LIBVQ_SOVERSION})
foreach(library vq_static vq_shared)
  add_library(libvq::${library} ALIAS ${library})
  target_compile_features(${library} INTERFACE c_std_99)
  target_include_directories(
    ${library} INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
                         $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/libvq>)
  target_link_libraries(${library} PRIVATE ${LIBVQ_DEPENDENCIES})
endforeach()
target_compile_definitions(vq_static INTERFACE VQ_STATIC)
# The compiler knows where its OpenMP runtime is; the user of the static library need not look for it.
target_link_libraries(vq_shared PRIVATE OpenMP::OpenMP_C)
target_link_options(vq_static INTERFACE ${OpenMP_C_FLAGS})
target_link_options(vq_shared PRIVATE -Wl,--as-needed)
if(LIBVQ_SANITIZE)
  # The sanitizer's runtime is in the program, so a shared library leaves its symbols open.
  target_link_options(vq_shared PRIVATE -fsanitize=${LIBVQ_SANITIZE})
  target_link_options(vq_static INTERFACE -fsanitize=${LIBVQ_SANITIZE})
else()
  target_link_options(vq_shared PRIVATE -Wl,--no-undefined)
endif()

if(BUILD_SHARED_LIBS)
  add_library(libvq::vq ALIAS vq_shared)
else()
  add_library(libvq::vq ALIAS vq_static)
endif()
