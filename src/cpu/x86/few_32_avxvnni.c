/* Rows of 32 blocks times a few tokens, AVX-VNNI. */
#include "cpu/x86/vnni_avxvnni.h"

#include "cpu/x86/few_dots_vnni.h"

#include "cpu/x86/few_32.h"
