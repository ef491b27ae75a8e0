// SPDX-License-Identifier: Apache-2.0
#include "tests/fetch/test_tls.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>

namespace layerfs {
namespace {

EVP_PKEY* MakeKey() { return EVP_EC_gen("P-256"); }

void AddExtension(X509* certificate, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

// Signed by `issuer`, or by itself where that is null.
X509* MakeCertificate(const char* name, EVP_PKEY* key, X509* issuer, EVP_PKEY* issuer_key) {
  static long serial = 1;
  X509* certificate = X509_new();
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 86'400);
  X509_set_pubkey(certificate, key);
  X509_NAME* subject = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name), -1, -1, 0);
  X509_set_issuer_name(certificate, issuer != nullptr ? X509_get_subject_name(issuer) : subject);
  if (issuer == nullptr) {
    AddExtension(certificate, NID_basic_constraints, "critical,CA:TRUE");
  } else {
    AddExtension(certificate, NID_subject_alt_name, "IP:127.0.0.1,IP:::1,DNS:localhost");
  }
  X509_sign(certificate, issuer_key, EVP_sha256());
  return certificate;
}

void WriteKey(const std::string& path, EVP_PKEY* key) {
  FILE* file = std::fopen(path.c_str(), "w");
  PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr);
  std::fclose(file);
}

void WriteCertificate(const std::string& path, X509* certificate) {
  FILE* file = std::fopen(path.c_str(), "w");
  PEM_write_X509(file, certificate);
  std::fclose(file);
}

}  // namespace

TestTls::TestTls() : context_(SSL_CTX_new(TLS_server_method())) {
  EVP_PKEY* ca_key = MakeKey();
  EVP_PKEY* key = MakeKey();
  EVP_PKEY* client_key_pair = MakeKey();
  X509* ca = MakeCertificate("layerfs test authority", ca_key, nullptr, ca_key);
  X509* server = MakeCertificate("localhost", key, ca, ca_key);
  X509* client = MakeCertificate("client", client_key_pair, ca, ca_key);
  WriteCertificate(ca_file(), ca);
  WriteCertificate(server_cert(), server);
  WriteKey(server_key(), key);
  WriteCertificate(client_cert(), client);
  WriteKey(client_key(), client_key_pair);
  SSL_CTX_use_certificate(context_, server);
  SSL_CTX_use_PrivateKey(context_, key);
  for (X509* certificate : {ca, server, client}) X509_free(certificate);
  for (EVP_PKEY* pair : {ca_key, key, client_key_pair}) EVP_PKEY_free(pair);
}

TestTls::~TestTls() { SSL_CTX_free(context_); }

void TestTls::RequireClientCertificate() {
  SSL_CTX_load_verify_locations(context_, ca_file().c_str(), nullptr);
  SSL_CTX_set_verify(context_, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
}

void TestTls::SpeakHttp2() {
  SSL_CTX_set_alpn_select_cb(
      context_,
      [](SSL*, const unsigned char** chosen, unsigned char* size, const unsigned char*, unsigned,
         void*) {
        *chosen = reinterpret_cast<const unsigned char*>("h2");
        *size = 2;
        return SSL_TLSEXT_ERR_OK;
      },
      nullptr);
}

SSL* TestTls::Accept(int fd) {
  SSL* ssl = SSL_new(context_);
  SSL_set_fd(ssl, fd);
  if (SSL_accept(ssl) == 1) return ssl;
  SSL_free(ssl);
  return nullptr;
}

}  // namespace layerfs
