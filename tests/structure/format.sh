#!/bin/sh
# Every C file is as .clang-format wants it. Versions of clang-format differ in taste: 14 (Debian 12's) decides, without
# it there is nothing to say: exit 77, skipped.
#   format.sh SOURCE_DIR
set -eu
cd "$1"
clang_format=$(command -v clang-format-14 || command -v clang-format) || exit 77
"$clang_format" --version | grep -q 'version 14\.' || exit 77

status=0
for file in $(find include src apps tests bench fuzz examples -name '*.[ch]'); do
    "$clang_format" --dry-run --Werror "$file" 2>/dev/null || {
        echo "format: clang-format -i $file"
        status=1
    }
done
exit $status
