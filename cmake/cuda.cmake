# CUDA kernels that are compiled together with facet and installed beside its library, so that neither the toolkit nor
# time is needed for them at run time. Nothing else of the build needs CUDA; without it kernels are compiled at run time.
set(FACET_CUDA AUTO CACHE STRING "compile CUDA kernels with facet: ON, OFF, or AUTO: where NVRTC is found")
set(FACET_CUDA_TARGETS "sm_75;sm_80;sm_86;sm_89;sm_90;compute_90" CACHE STRING "for which devices; compute_N: for all from N on")

# From the program to the kernels; from the library it is facet/kernels.
file(RELATIVE_PATH way ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR}/facet/kernels)
set_property(SOURCE src/backend/gpu/cache.c APPEND PROPERTY COMPILE_DEFINITIONS "GPU_KERNELS_FROM_PROGRAM=\"${way}\"")

function(facet_cuda_kernels)
  if(NOT FACET_CUDA OR CMAKE_CROSSCOMPILING OR FACET_SANITIZE)
    return()
  endif()
  find_library(FACET_NVRTC NAMES libnvrtc.so.13 libnvrtc.so.12 nvrtc HINTS $ENV{CUDA_PATH} /usr/local/cuda PATH_SUFFIXES lib64 lib)
  if(NOT FACET_NVRTC)
    if(NOT FACET_CUDA STREQUAL AUTO)
      message(FATAL_ERROR "FACET_CUDA is ${FACET_CUDA}, but there is no NVRTC; CUDA_PATH tells where the toolkit is")
    endif()
    return()
  endif()
  get_filename_component(nvrtc_directory ${FACET_NVRTC} DIRECTORY)
  add_executable(cuda_kernels packaging/cuda_kernels.c)
  facet_flags(cuda_kernels)
  target_include_directories(cuda_kernels PRIVATE src)
  target_link_libraries(cuda_kernels PRIVATE facet_internal)
  set(directory ${PROJECT_BINARY_DIR}/kernels)
  file(MAKE_DIRECTORY ${directory})
  foreach(target IN LISTS FACET_CUDA_TARGETS)
    add_custom_command(OUTPUT ${directory}/${target}.done
      COMMAND ${CMAKE_COMMAND} -E env LD_LIBRARY_PATH=${nvrtc_directory} $<TARGET_FILE:cuda_kernels> ${directory} ${target}
      COMMAND ${CMAKE_COMMAND} -E touch ${directory}/${target}.done
      DEPENDS cuda_kernels COMMENT "CUDA kernels for ${target}" VERBATIM)
    list(APPEND done ${directory}/${target}.done)
  endforeach()
  add_custom_target(kernels ALL DEPENDS ${done})
  install(DIRECTORY ${directory}/ DESTINATION ${CMAKE_INSTALL_LIBDIR}/facet/kernels FILES_MATCHING PATTERN "*.kernels")
endfunction()
