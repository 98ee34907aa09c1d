# Compiler flags of every target. Products must not be contracted into fma behind our back: the numeric contract says
# where an fma is.
set(FACET_SANITIZE "" CACHE STRING "sanitizers to build with: address,undefined or thread")

function(facet_flags target)
  set_target_properties(${target} PROPERTIES C_STANDARD 17 C_STANDARD_REQUIRED ON C_EXTENSIONS ON C_VISIBILITY_PRESET hidden)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
    -Wwrite-strings -Wvla -Wundef -Werror -ffp-contract=off -fno-math-errno)
  target_compile_definitions(${target} PRIVATE _GNU_SOURCE)
  if(FACET_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${FACET_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    target_link_options(${target} PUBLIC -fsanitize=${FACET_SANITIZE})
  endif()
endfunction()

# The instruction set of a kernel file is the end of its name.
function(facet_isa_flags source)
  if(source MATCHES "_avx2\\.c$")
    set(flags "-mavx2;-mfma;-mf16c")
  elseif(source MATCHES "_avxvnni\\.c$")
    set(flags "-mavx2;-mfma;-mf16c;-mavxvnni")
  elseif(source MATCHES "_avx512\\.c$")
    set(flags "-mavx2;-mfma;-mf16c;-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx512vnni")
  elseif(source MATCHES "_neon\\.c$")
    set(flags "-march=armv8.2-a+dotprod")
  elseif(source MATCHES "_i8mm\\.c$")
    set(flags "-march=armv8.2-a+dotprod+i8mm")
  endif()
  set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${flags}")
endfunction()
