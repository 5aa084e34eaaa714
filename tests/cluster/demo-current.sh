# The demo in the cluster of the current kube context.
# shellcheck shell=bash
# Needs demo. Nothing is touched before the user has agreed.

up_current() {
  local repository=localhost local=0 tar
  [[ $(uname -s) == Linux ]] || die "the images can be built on Linux only; the chart and Dockerfile work anywhere: see docs/install.md"
  need "${BUILD_NEEDS[@]}"
  need_go
  need_rust
  need_cluster
  provider
  ask "Install Millrace (namespaces $SYSTEM and $NAMESPACE, the kinds of millrace.dev) with Prometheus and Grafana, and run 6 tasks"
  if [[ $PROVIDER == node ]]; then build node; else build; fi
  case $PROVIDER in
  node) local=1 && "$HERE/cluster" load "${IMAGES[@]}" "${NODE_IMAGES[@]}" ;;
  minikube) for tar in "${IMAGES[@]}"; do step "Load ${tar##*/} into minikube" "20 s" minikube -p "$CLUSTER_NAME" image load "$tar"; done ;;
  kind) for tar in "${IMAGES[@]}"; do step "Load ${tar##*/} into kind" "10 s" kind load image-archive "$tar" --name "$CLUSTER_NAME"; done ;;
  registry) repository=${IMAGE_REPOSITORY%/} && push ;;
  esac
  journey "$repository" $local
  say ""
  say "To look around:   kubectl -n $NAMESPACE get tasklaunches -w"
  say "To remove it all: make demo-down CLUSTER=current"
}

down_current() {
  local name others
  need_cluster
  ask "Remove the demo's Millrace and its namespaces $SYSTEM and $NAMESPACE"
  if is_ours $SYSTEM; then helm uninstall millrace -n $SYSTEM --ignore-not-found --wait; fi
  for name in $NAMESPACE $SYSTEM; do
    if is_ours "$name"; then step "Delete namespace $name" "20 s" kubectl delete namespace "$name" --timeout=2m; fi
  done
  # With the kinds would go every definition and launch of the cluster.
  kubectl get --ignore-not-found -f "$CHECKOUT/crds" -o name | grep -q . || return 0
  others=$(kubectl get taskdefinitions,tasklaunches,taskmonitorings -A -o name) ||
    { say "the kinds of millrace.dev stay: it could not be seen who uses them"; return; }
  [[ -z $others ]] || { say "the kinds of millrace.dev stay: other namespaces use them"; return; }
  kubectl delete --ignore-not-found -f "$CHECKOUT/crds"
}

need_cluster() {
  command -v kubectl >/dev/null || die "missing: kubectl; see https://kubernetes.io/docs/tasks/tools"
  command -v helm >/dev/null || die "missing: helm; install with: go install helm.sh/helm/v4/cmd/helm@$HELM_VERSION"
  CONTEXT=$(kubectl config current-context 2>/dev/null) ||
    die "there is no current kube context; choose one with: kubectl config use-context NAME"
  SERVER=$(kubectl config view --minify -o 'jsonpath={.clusters[0].cluster.server}')
  kubectl get --raw /readyz --request-timeout=10s >/dev/null ||
    die "the cluster of context $CONTEXT ($SERVER) does not answer; is it started?"
}

# How images get into the cluster: PROVIDER and CLUSTER_NAME.
provider() {
  local id profile arch
  IFS='|' read -r id profile arch < <(kubectl get nodes -o \
    'jsonpath={.items[0].spec.providerID}|{.items[0].metadata.labels.minikube\.k8s\.io/name}|{.items[0].status.nodeInfo.architecture}{"\n"}')
  [[ $arch == "$(go env GOARCH)" ]] || die "the cluster's nodes are $arch, this machine builds for $(go env GOARCH): build there"
  if [[ -n $profile ]]; then PROVIDER=minikube CLUSTER_NAME=$profile
  elif [[ $id == kind://* ]]; then PROVIDER=kind CLUSTER_NAME=${CONTEXT#kind-}
  elif [[ $CONTEXT == millrace-test-* ]]; then PROVIDER=node
  else PROVIDER=registry; fi
  [[ -z ${IMAGE_REPOSITORY-} ]] || PROVIDER=registry
  case $PROVIDER in
  minikube | kind) command -v $PROVIDER >/dev/null || die "the cluster is of $PROVIDER, and $PROVIDER is not in the PATH: it must load the images" ;;
  registry) [[ -n ${IMAGE_REPOSITORY-} ]] || die "the nodes of $CONTEXT can only pull images: name a registry that you may push to, as in: make demo CLUSTER=current IMAGE_REPOSITORY=registry.example/team" ;;
  esac
}

# ask WHAT: in which cluster, and may we?
ask() {
  local answer
  say "$1"
  say "in the cluster of context $CONTEXT ($SERVER)."
  [[ ${YES-} != 1 ]] || return 0
  [[ -t 0 ]] || die "there is no terminal to ask at; to agree, add YES=1"
  read -rp "Go on? [y/N] " answer
  [[ $answer == [yY]* ]] || { say "Nothing was changed."; exit 1; }
}

# With what is there; else says what to do, and stops.
push() {
  local i names=("millrace:$OPERATOR_VERSION" "${APP#localhost/}") by=none to
  [[ ${PUSHED-} != 1 ]] || return 0
  if command -v skopeo >/dev/null; then by=skopeo; elif docker info >/dev/null 2>&1; then by=docker; fi
  [[ $by != none ]] || say "Neither skopeo nor a running Docker is here. To push the images with skopeo:"
  for i in 0 1; do
    to=$repository/${names[$i]}
    case $by in
    skopeo) step "Push $to" "20 s" skopeo copy "oci-archive:${IMAGES[$i]}" "docker://$to" ;;
    docker) step "Push $to" "20 s" push_by_docker "${IMAGES[$i]}" "localhost/${names[$i]}" "$to" ;;
    none) say "  skopeo copy oci-archive:${IMAGES[$i]} docker://$to" ;;
    esac
  done
  [[ $by != none ]] || die "then go on with: make demo CLUSTER=current IMAGE_REPOSITORY=$repository PUSHED=1"
}

push_by_docker() {
  docker load -i "$1"
  docker tag "$2" "$3"
  docker push "$3"
}
