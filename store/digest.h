/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_DIGEST_H
#define STORE_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIGEST_BYTES 32
#define DIGEST_HEX   64

/* A SHA-256. Of a file's bytes, it names the content; of a canonical index, the version. */
struct digest {
	uint8_t bytes[DIGEST_BYTES];
};

/* A running SHA-256 over OpenSSL's EVP. Ownership: digest_close frees `context`. */
struct digest_stream {
	void *context;
};

/* Begins a hash. Returns -ENOMEM or -EIO (the library refuses SHA-256), else 0. */
int digest_open(struct digest_stream *stream);

/* Adds bytes. Returns -EIO if the library fails. */
int digest_add(struct digest_stream *stream, const void *bytes, size_t length);

/* Writes the digest of what was added, and makes the stream ready for the next one. */
int digest_finish(struct digest_stream *stream, struct digest *ret_digest);

/* Frees the stream; a zeroed one is accepted. */
void digest_close(struct digest_stream *stream);

/* Hashes one buffer. Returns as above. */
int digest_of(const void *bytes, size_t length, struct digest *ret_digest);

bool digest_equal(const struct digest *a, const struct digest *b);

/* memcmp order. */
int digest_compare(const struct digest *a, const struct digest *b);

/* Writes 64 lowercase hex digits and a NUL. Returns `hex`. */
char *digest_hex(const struct digest *digest, char hex[DIGEST_HEX + 1]);

/* Reads exactly 64 lowercase hex digits. Returns -EINVAL for anything else. */
int digest_parse(const char *hex, size_t length, struct digest *ret_digest);

#endif
