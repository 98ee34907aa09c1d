#!/bin/sh
# Every C file is as .clang-format wants it. Versions of clang-format differ in taste: 14 (Debian 12's) decides, without
# it there is nothing to say: exit 77, skipped.
#   format.sh SOURCE_DIR
set -eu
cd "$1"
clang_format=$(command -v clang-format-14 || command -v clang-format) || exit 77
"$clang_format" --version | grep -q 'version 14\.' || exit 77

find include src apps tests bench fuzz examples -name '*.[ch]' | xargs "$clang_format" --dry-run --Werror 2>&1 |
    sed -n 's/^\([^ :]*\):[0-9]*:[0-9]*: error.*/format: clang-format -i \1/p' | sort -u | {
    ! grep .
}
