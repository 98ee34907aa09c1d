# Files that tests need and that are made while building. vocab.gguf: the real vocabulary, without weights and without
# a chat template; tests find it at FACET_VOCAB_GGUF.
add_executable(vocab_gguf support/vocab_gguf.c)
facet_flags(vocab_gguf)
target_link_libraries(vocab_gguf PRIVATE test_support)

set(FACET_VOCAB_GGUF ${CMAKE_BINARY_DIR}/vocab.gguf)
set(vocab_json ${CMAKE_CURRENT_SOURCE_DIR}/data/tokenizer/gemma4-vocab.json.xz)
add_custom_command(OUTPUT ${FACET_VOCAB_GGUF}
  COMMAND xz -dc ${vocab_json} | ${CMAKE_CROSSCOMPILING_EMULATOR} $<TARGET_FILE:vocab_gguf> ${FACET_VOCAB_GGUF}
  DEPENDS vocab_gguf ${vocab_json} VERBATIM COMMENT "Making vocab.gguf")
add_custom_target(test_vocab ALL DEPENDS ${FACET_VOCAB_GGUF})

foreach(source IN LISTS TEST_SOURCES)
  get_filename_component(name ${source} NAME_WE)
  target_compile_definitions(${name} PRIVATE FACET_VOCAB_GGUF="${FACET_VOCAB_GGUF}")
endforeach()
