# Building on any machine for 64-bit ARM Linux with Debian's cross compiler, and running the tests under qemu-user.
#   cmake -B build/arm --toolchain cmake/toolchains/aarch64.cmake -DFACET_ARM_ROOT=DIR
# FACET_ARM_ROOT: where cmocka and jansson for arm64 are unpacked (scripts/test-arm does that); only the tests need
# them. clang: -DCMAKE_C_COMPILER=clang.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(triple aarch64-linux-gnu)
if(NOT CMAKE_C_COMPILER)
  set(CMAKE_C_COMPILER ${triple}-gcc)
endif()
# clang asks for the target; gcc has no use for these
set(CMAKE_C_COMPILER_TARGET ${triple})
set(CMAKE_ASM_COMPILER_TARGET ${triple})

set(FACET_ARM_CPU max CACHE STRING "the processor that the tests run on, as qemu names it")
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64;-cpu;${FACET_ARM_CPU};-L;/usr/${triple})
set(CMAKE_FIND_ROOT_PATH /usr/${triple} ${FACET_ARM_ROOT})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES FACET_ARM_ROOT FACET_ARM_CPU)

# What pkg-config finds is in the root, not on this machine.
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${FACET_ARM_ROOT})
set(ENV{PKG_CONFIG_LIBDIR} ${FACET_ARM_ROOT}/usr/lib/${triple}/pkgconfig)
