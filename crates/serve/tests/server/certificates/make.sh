#!/bin/sh
# Certificates for the tests, which end in a hundred years: an authority, and two of `localhost` that it has signed.
set -eu
cd "$(dirname "$0")"
trap 'rm -f authority.key request.csr names.cnf' EXIT
new_key() { openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$1"; }
new_key authority.key
openssl req -x509 -new -key authority.key -subj "/CN=Rankmill tests" -days 36500 -out authority.pem \
  -addext keyUsage=critical,keyCertSign
echo "subjectAltName=DNS:localhost,IP:127.0.0.1" > names.cnf
for name in first second; do
  new_key "$name.key"
  openssl req -new -key "$name.key" -subj /CN=localhost -out request.csr
  openssl x509 -req -in request.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 36500 -extfile names.cnf -out "$name.pem"
done
rm -f authority.srl
