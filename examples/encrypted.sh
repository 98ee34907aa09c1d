#!/bin/sh
# Tries examples/encrypted.c: encrypted.sh PROGRAM MODEL
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$1" key "$folder/key"
"$1" key "$folder/other"
"$1" encrypt "$folder/key" "$2" "$folder/model.enc"
grep -q GGUF "$folder/model.enc" && { echo "it is not encrypted"; exit 1; }
answer=$("$1" ask "$folder/key" "$folder/model.enc" "What is the capital of Italy?")
[ "$answer" = "The capital of Italy is Rome." ] || { echo "it answers: $answer"; exit 1; }
refused() {
    if "$1" ask "$2" "$3" "What is the capital of Italy?" > "$folder/out" 2>&1; then echo "$4: not noticed"; exit 1; fi
    grep -q "$5" "$folder/out" || { echo "$4: $(cat "$folder/out")"; exit 1; }
}
refused "$1" "$folder/other" "$folder/model.enc" "another key" "key is wrong"
cp "$folder/model.enc" "$folder/changed"
printf x | dd of="$folder/changed" bs=1 seek=3000000 conv=notrunc 2> /dev/null
refused "$1" "$folder/key" "$folder/changed" "a changed byte" "changed the file"
head -c 3000000 "$folder/model.enc" > "$folder/cut"
refused "$1" "$folder/key" "$folder/cut" "a cut file" "cut off"
echo "encrypted: all as it should be"
