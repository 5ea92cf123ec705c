#!/bin/sh
# Makes certificates for development: an authority, once, and a certificate for each domain that is named.
set -eu
cd "$(dirname "$0")"
umask 077
key="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"

if [ ! -e ca.key ]; then
    openssl req -x509 $key -days 3650 -subj "/CN=vrxmpp development authority" \
        -addext keyUsage=critical,keyCertSign,cRLSign -keyout ca.key -out ca.crt
fi
for domain; do
    openssl req -x509 $key -days 365 -subj "/CN=$domain" -CA ca.crt -CAkey ca.key \
        -addext "subjectAltName=DNS:$domain" -addext basicConstraints=critical,CA:FALSE \
        -addext extendedKeyUsage=serverAuth -keyout "$domain.key" -out "$domain.crt"
done
