/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The five filters, each through the library that its own tool uses, so that what `gzip -t` or
 * `xz -t` would refuse is refused here as well: header and content checksums, lengths, and
 * windows or dictionaries over the limit. A filter sees one member at a time.
 */
#include "engine/codec_filter.h"

#include <bzlib.h>
#include <errno.h>
#include <lz4frame.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "engine/codec.h"

/* Frames of zstd that need more are refused: 128 MiB is what `zstd --long=27` makes. */
#define ZSTD_WINDOW_LOG 27

int codec_out_of_memory(const char *what, struct reason *reason)
{
	return reason_set(reason, EBADMSG, "archive_corrupt",
			  "decoding its %s needs more memory than the decoder may use; compress it "
			  "with a smaller window or dictionary",
			  what);
}

static int damaged(const char *name, const char *detail, struct reason *reason)
{
	return reason_set(reason, EBADMSG, "archive_corrupt",
			  "the %s data is damaged (%s); copy the archive again", name, detail);
}

/* gzip */

static bool gzip_magic(const uint8_t *bytes, size_t length)
{
	return length >= 3 && memcmp(bytes, "\x1f\x8b\x08", 3) == 0;
}

static void *gzip_open(uint64_t memory_bytes)
{
	z_stream *z = calloc(1, sizeof(*z));

	(void)memory_bytes;
	if (z && inflateInit2(z, 15 + 16) == Z_OK)
		return z;
	free(z);
	return NULL;
}

static int gzip_step(void *state, struct codec_io *io, struct reason *reason)
{
	z_stream *z = state;
	int result;

	z->next_in = (Bytef *)io->in;
	z->avail_in = (uInt)io->in_left;
	z->next_out = io->out;
	z->avail_out = (uInt)io->out_left;
	result = inflate(z, Z_NO_FLUSH);
	io->in = z->next_in;
	io->in_left = z->avail_in;
	io->out = z->next_out;
	io->out_left = z->avail_out;
	if (result == Z_STREAM_END)
		return CODEC_END;
	if (result == Z_OK || result == Z_BUF_ERROR)
		return CODEC_MORE;
	if (result == Z_MEM_ERROR)
		return codec_out_of_memory("gzip", reason);
	return damaged("gzip", z->msg ? z->msg : "not a gzip member", reason);
}

static void gzip_close(void *state)
{
	inflateEnd(state);
	free(state);
}

static const struct codec_filter gzip = {
    .name = "gzip",
    .magic = gzip_magic,
    .open = gzip_open,
    .step = gzip_step,
    .close = gzip_close,
};

/* bzip2 */

static bool bzip2_magic(const uint8_t *bytes, size_t length)
{
	return length >= 10 && memcmp(bytes, "BZh", 3) == 0 && bytes[3] >= '1' && bytes[3] <= '9' &&
	       (memcmp(bytes + 4, "\x31\x41\x59\x26\x53\x59", 6) == 0 ||
		memcmp(bytes + 4, "\x17\x72\x45\x38\x50\x90", 6) == 0);
}

static void *bzip2_open(uint64_t memory_bytes)
{
	bz_stream *bz = calloc(1, sizeof(*bz));

	(void)memory_bytes;
	if (bz && BZ2_bzDecompressInit(bz, 0, 0) == BZ_OK)
		return bz;
	free(bz);
	return NULL;
}

static int bzip2_step(void *state, struct codec_io *io, struct reason *reason)
{
	bz_stream *bz = state;
	int result;

	bz->next_in = (char *)io->in;
	bz->avail_in = (unsigned)io->in_left;
	bz->next_out = (char *)io->out;
	bz->avail_out = (unsigned)io->out_left;
	result = BZ2_bzDecompress(bz);
	io->in = (const uint8_t *)bz->next_in;
	io->in_left = bz->avail_in;
	io->out = (uint8_t *)bz->next_out;
	io->out_left = bz->avail_out;
	if (result == BZ_STREAM_END)
		return CODEC_END;
	if (result == BZ_OK)
		return CODEC_MORE;
	if (result == BZ_MEM_ERROR)
		return codec_out_of_memory("bzip2", reason);
	return damaged("bzip2", "a block or its checksum is wrong", reason);
}

static void bzip2_close(void *state)
{
	BZ2_bzDecompressEnd(state);
	free(state);
}

static const struct codec_filter bzip2 = {
    .name = "bzip2",
    .magic = bzip2_magic,
    .open = bzip2_open,
    .step = bzip2_step,
    .close = bzip2_close,
};

/* xz */

static bool xz_magic(const uint8_t *bytes, size_t length)
{
	return length >= 6 && memcmp(bytes,
				     "\xfd"
				     "7zXZ\0",
				     6) == 0;
}

static void *xz_open(uint64_t memory_bytes)
{
	static const lzma_stream fresh = LZMA_STREAM_INIT;
	lzma_stream *xz = malloc(sizeof(*xz));

	if (!xz)
		return NULL;
	*xz = fresh;
	if (lzma_stream_decoder(xz, memory_bytes / 4 * 3, LZMA_TELL_UNSUPPORTED_CHECK) == LZMA_OK)
		return xz;
	free(xz);
	return NULL;
}

static int xz_verdict(lzma_ret result, struct reason *reason)
{
	if (result == LZMA_STREAM_END)
		return CODEC_END;
	if (result == LZMA_OK || result == LZMA_BUF_ERROR)
		return CODEC_MORE;
	if (result == LZMA_MEM_ERROR || result == LZMA_MEMLIMIT_ERROR)
		return codec_out_of_memory("xz", reason);
	if (result == LZMA_OPTIONS_ERROR || result == LZMA_UNSUPPORTED_CHECK)
		return reason_set(reason, EBADMSG, "archive_unsupported",
				  "its xz data uses a filter or a check that is not supported");
	return damaged("xz", "a block, its checksum or the index is wrong", reason);
}

static int xz_step(void *state, struct codec_io *io, struct reason *reason)
{
	lzma_stream *xz = state;
	lzma_ret result;

	xz->next_in = io->in;
	xz->avail_in = io->in_left;
	xz->next_out = io->out;
	xz->avail_out = io->out_left;
	result = lzma_code(xz, LZMA_RUN);
	io->in = xz->next_in;
	io->in_left = xz->avail_in;
	io->out = xz->next_out;
	io->out_left = xz->avail_out;
	return xz_verdict(result, reason);
}

static void xz_close(void *state)
{
	lzma_end(state);
	free(state);
}

static const struct codec_filter xz = {
    .name = "xz",
    .magic = xz_magic,
    .padding = 4,
    .open = xz_open,
    .step = xz_step,
    .close = xz_close,
};

/* zstd */

bool codec_is_skippable(const uint8_t *bytes, size_t length)
{
	return length >= 4 && (bytes[0] & 0xf0) == 0x50 &&
	       memcmp(bytes + 1, "\x2a\x4d\x18", 3) == 0;
}

static bool zstd_magic(const uint8_t *bytes, size_t length)
{
	return codec_is_skippable(bytes, length) ||
	       (length >= 4 && memcmp(bytes, "\x28\xb5\x2f\xfd", 4) == 0);
}

static void *zstd_open(uint64_t memory_bytes)
{
	ZSTD_DCtx *zstd = ZSTD_createDCtx();

	(void)memory_bytes;
	if (zstd)
		ZSTD_DCtx_setParameter(zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG);
	return zstd;
}

static int zstd_error(size_t result, struct reason *reason)
{
	ZSTD_ErrorCode code = ZSTD_getErrorCode(result);

	if (code == ZSTD_error_memory_allocation)
		return codec_out_of_memory("zstd", reason);
	if (code == ZSTD_error_frameParameter_windowTooLarge)
		return reason_set(reason, EBADMSG, "archive_unsupported",
				  "its zstd data needs a window over %u MiB; compress it with "
				  "--long=%u or less",
				  (1U << ZSTD_WINDOW_LOG) >> 20, ZSTD_WINDOW_LOG);
	if (code == ZSTD_error_dictionary_wrong)
		return reason_set(reason, EBADMSG, "archive_unsupported",
				  "its zstd data needs a dictionary; compress it without one");
	return damaged("zstd", ZSTD_getErrorName(result), reason);
}

static int zstd_step(void *state, struct codec_io *io, struct reason *reason)
{
	ZSTD_inBuffer in = {.src = io->in, .size = io->in_left};
	ZSTD_outBuffer out = {.dst = io->out, .size = io->out_left};
	size_t result = ZSTD_decompressStream(state, &out, &in);

	io->in += in.pos;
	io->in_left -= in.pos;
	io->out += out.pos;
	io->out_left -= out.pos;
	if (ZSTD_isError(result))
		return zstd_error(result, reason);
	return result == 0 ? CODEC_END : CODEC_MORE;
}

static void zstd_close(void *state)
{
	ZSTD_freeDCtx(state);
}

static const struct codec_filter zstd = {
    .name = "zstd",
    .magic = zstd_magic,
    .open = zstd_open,
    .step = zstd_step,
    .close = zstd_close,
};

/* lz4 */

static bool lz4_magic(const uint8_t *bytes, size_t length)
{
	return codec_is_skippable(bytes, length) ||
	       (length >= 4 && memcmp(bytes, "\x04\x22\x4d\x18", 4) == 0);
}

static void *lz4_open(uint64_t memory_bytes)
{
	LZ4F_dctx *lz4 = NULL;

	(void)memory_bytes;
	if (LZ4F_isError(LZ4F_createDecompressionContext(&lz4, LZ4F_VERSION)))
		return NULL;
	return lz4;
}

static int lz4_step(void *state, struct codec_io *io, struct reason *reason)
{
	size_t in_length = io->in_left;
	size_t out_length = io->out_left;
	size_t result = LZ4F_decompress(state, io->out, &out_length, io->in, &in_length, NULL);

	if (LZ4F_isError(result)) {
		if (strstr(LZ4F_getErrorName(result), "allocation"))
			return codec_out_of_memory("lz4", reason);
		return damaged("lz4", LZ4F_getErrorName(result), reason);
	}
	io->in += in_length;
	io->in_left -= in_length;
	io->out += out_length;
	io->out_left -= out_length;
	return result == 0 ? CODEC_END : CODEC_MORE;
}

static void lz4_close(void *state)
{
	LZ4F_freeDecompressionContext(state);
}

static const struct codec_filter lz4 = {
    .name = "lz4",
    .magic = lz4_magic,
    .open = lz4_open,
    .step = lz4_step,
    .close = lz4_close,
};

const struct codec_filter *const codec_filters[] = {&gzip, &bzip2, &xz, &zstd, &lz4, NULL};
