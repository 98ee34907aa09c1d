# The static library that is installed is one object in which names that facet.h does not declare are local: a program
# may have a pool_new of its own. The compiler links, so that its target and its kind of objects are right. With
# sanitizers it is the plain objects: their checks know symbols by name.
function(facet_one_object out objects)
  if(FACET_SANITIZE)
    set(${out} ${objects} PARENT_SCOPE)
    return()
  endif()
  set(object ${CMAKE_CURRENT_BINARY_DIR}/facet.o)
  separate_arguments(flags NATIVE_COMMAND "${CMAKE_C_FLAGS}")
  if(CMAKE_C_COMPILER_TARGET AND CMAKE_C_COMPILE_OPTIONS_TARGET) # clang
    list(APPEND flags ${CMAKE_C_COMPILE_OPTIONS_TARGET}${CMAKE_C_COMPILER_TARGET})
  endif()
  add_custom_command(OUTPUT ${object}
    COMMAND ${CMAKE_C_COMPILER} ${flags} -nostdlib -r -o ${object} ${objects}
    COMMAND ${CMAKE_OBJCOPY} --localize-hidden ${object}
    DEPENDS ${objects} COMMAND_EXPAND_LISTS VERBATIM COMMENT "Joining the library in one object")
  set(${out} ${object} PARENT_SCOPE)
endfunction()
