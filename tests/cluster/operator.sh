# The operator's image, built from the checkout without a container engine.
# shellcheck shell=bash disable=SC2164 # who sources this stops on errors
# Needs lib.sh. `operator` prints the folder with millrace.tar.

OPERATOR_VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' "$CHECKOUT/Cargo.toml" | head -1)
OPERATOR_NAME=localhost/millrace:$OPERATOR_VERSION
# All that the program is made of, as far as it is there.
OPERATOR_INPUTS=(Cargo.toml Cargo.lock rust-toolchain.toml .cargo build.rs src crds dashboards assets)

operator() { cached_by_key operator build_operator; }

operator_key() (
  cd "$CHECKOUT"
  {
    # Some are not there (yet), which find calls a failure.
    { find "${OPERATOR_INPUTS[@]}" -type f -print0 2>/dev/null || :; } | LC_ALL=C sort -z | xargs -0 sha256sum
    rustc -vV
  } | key "$HERE"/kubernetes/image/*.go "$HERE/operator.sh"
)

# Static, so that the image needs no system. With a target named, the flag does
# not hold for build scripts and procedural macros, which cannot be static. One
# target folder for all checkouts: they share the dependencies. The same code as a
# release, less optimised: half the time to build, and a third after a change.
build_operator() {
  local target out
  cd "$CHECKOUT"
  target=$(rustc -vV | sed -n 's/^host: //p')
  CARGO_TARGET_DIR=$CACHE/target CARGO_TERM_COLOR=never RUSTFLAGS='-C target-feature=+crt-static' \
    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
    nice -n 5 cargo build --release --locked --bin millrace --target "$target"
  out=$CACHE/target/$target/release
  no_input_is_missing "$out/millrace.d"
  "$HERE/image" --name "$OPERATOR_NAME" --entrypoint '["/millrace"]' --user 65532:65532 \
    --add "$out/millrace:/millrace" --out "$1/millrace.tar"
}

# The compiler names the files it read; each must be part of the key, or a change
# of it would not be built.
no_input_is_missing() {
  local files file top
  read -ra files <"$1"
  for file in "${files[@]}"; do
    [[ $file == "$CHECKOUT"/* ]] || continue
    top=${file#"$CHECKOUT/"}
    [[ " ${OPERATOR_INPUTS[*]} " == *" ${top%%/*} "* ]] || die "add ${top%%/*} to OPERATOR_INPUTS in tests/cluster/operator.sh"
  done
}

# rustup gets the toolchain that rust-toolchain.toml names; without rustup it must be there.
need_rust() {
  local have want
  command -v cargo >/dev/null || die "missing: cargo; install it with rustup, see https://rustup.rs"
  want=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$CHECKOUT/Cargo.toml")
  have=$(cd "$CHECKOUT" && rustc --version | cut -d' ' -f2)
  [[ $(printf '%s\n' "$want" "$have" | sort -V | head -1) == "$want" ]] ||
    die "Rust $want or newer is needed, rustc is $have; with rustup: rustup update"
}
