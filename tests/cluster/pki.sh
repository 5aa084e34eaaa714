# The cluster's certificates and kubeconfigs, each client with its own identity.
# shellcheck shell=bash disable=SC2164 # who sources this stops on errors

# make_pki FOLDER N: about a second.
make_pki() (
  cd "$1"
  local n=$2 ip=10.77.$2.2 name
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
    -keyout ca.key -out ca.crt -subj "/CN=millrace-test-$n" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
  openssl genrsa -out sa.key 2048 2>/dev/null

  certificate apiserver /O=system:masters/CN=kube-apiserver serverAuth,clientAuth \
    "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,DNS:localhost,IP:127.0.0.1,IP:$ip,IP:10.96.$n.1"
  certificate kubelet-server /CN=node1 serverAuth "DNS:node1,IP:$ip"
  certificate admin /O=system:masters/CN=admin clientAuth
  certificate kubelet /O=system:nodes/CN=system:node:node1 clientAuth
  for name in dns volumes; do certificate "$name" "/CN=$name" clientAuth; done
  for name in kube-controller-manager kube-scheduler kube-proxy; do
    certificate "$name" "/CN=system:$name" clientAuth
  done
  for name in admin kubelet dns volumes kube-controller-manager kube-scheduler kube-proxy; do
    kubeconfig "$name" "https://$ip:6443" "millrace-test-$n" >"$name.conf"
  done
  chmod 600 ./*.key ./*.conf
)

# certificate NAME SUBJECT USAGES [SUBJECT-ALT-NAMES]
certificate() {
  openssl req -x509 -CA ca.crt -CAkey ca.key -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
    -days 3650 -keyout "$1.key" -out "$1.crt" -subj "$2" -addext basicConstraints=critical,CA:FALSE \
    -addext "extendedKeyUsage=$3" ${4:+-addext "subjectAltName=$4"} 2>/dev/null
}

kubeconfig() {
  cat <<END
apiVersion: v1
kind: Config
clusters:
  - name: $3
    cluster: {server: "$2", certificate-authority-data: $(base64 -w0 ca.crt)}
users:
  - name: $1
    user: {client-certificate-data: $(base64 -w0 "$1.crt"), client-key-data: $(base64 -w0 "$1.key")}
contexts:
  - name: $3
    context: {cluster: $3, user: $1}
current-context: $3
END
}
