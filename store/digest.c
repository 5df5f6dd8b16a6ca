/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 through OpenSSL's EVP, and its hex form. Upper case is refused: a version has one name. */
#include "store/digest.h"

#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <string.h>

static pthread_once_t fetch_once = PTHREAD_ONCE_INIT;
static EVP_MD *sha256;

/* Fetching the algorithm for each file would cost more than hashing a small one (EVP_MD_fetch(3)). */
static void fetch(void)
{
	sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
}

int digest_open(struct digest_stream *stream)
{
	EVP_MD_CTX *context;

	stream->context = NULL;
	pthread_once(&fetch_once, fetch);
	if (!sha256)
		return -EIO;
	context = EVP_MD_CTX_new();
	if (!context)
		return -ENOMEM;
	if (EVP_DigestInit_ex2(context, sha256, NULL) != 1) {
		EVP_MD_CTX_free(context);
		return -EIO;
	}
	stream->context = context;
	return 0;
}

int digest_add(struct digest_stream *stream, const void *bytes, size_t length)
{
	return EVP_DigestUpdate(stream->context, bytes, length) == 1 ? 0 : -EIO;
}

int digest_finish(struct digest_stream *stream, struct digest *ret_digest)
{
	unsigned int length = 0;

	if (EVP_DigestFinal_ex(stream->context, ret_digest->bytes, &length) != 1 ||
	    length != DIGEST_BYTES)
		return -EIO;
	return EVP_DigestInit_ex2(stream->context, sha256, NULL) == 1 ? 0 : -EIO;
}

void digest_close(struct digest_stream *stream)
{
	EVP_MD_CTX_free(stream->context);
	stream->context = NULL;
}

int digest_of(const void *bytes, size_t length, struct digest *ret_digest)
{
	struct digest_stream stream;
	int error = digest_open(&stream);

	if (error)
		return error;
	error = digest_add(&stream, bytes, length);
	if (!error)
		error = digest_finish(&stream, ret_digest);
	digest_close(&stream);
	return error;
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
	return memcmp(a->bytes, b->bytes, DIGEST_BYTES) == 0;
}

int digest_compare(const struct digest *a, const struct digest *b)
{
	return memcmp(a->bytes, b->bytes, DIGEST_BYTES);
}

char *digest_hex(const struct digest *digest, char hex[DIGEST_HEX + 1])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < DIGEST_BYTES; i++) {
		hex[2 * i] = digits[digest->bytes[i] >> 4];
		hex[2 * i + 1] = digits[digest->bytes[i] & 15];
	}
	hex[DIGEST_HEX] = '\0';
	return hex;
}

static int hex_value(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	if (digit >= 'a' && digit <= 'f')
		return digit - 'a' + 10;
	return -1;
}

int digest_parse(const char *hex, size_t length, struct digest *ret_digest)
{
	if (length != DIGEST_HEX)
		return -EINVAL;
	for (size_t i = 0; i < DIGEST_BYTES; i++) {
		int high = hex_value(hex[2 * i]), low = hex_value(hex[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		ret_digest->bytes[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}
