/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_ENGINE_FIXTURE_H
#define TESTS_ENGINE_FIXTURE_H

/*
 * A whole engine on a private state, and small tar archives to deploy into it. The decoder's program is
 * named by the environment (AIONFS_DECODER, set by meson).
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/decoder.h"
#include "engine/deploy.h"
#include "engine/receipt.h"

struct fixture {
	char state[64];
	struct engine_options options;
	struct engine *engine;
	struct caller caller;
};

static inline void fixture_mount(struct fixture *fixture)
{
	struct reason reason = {0};
	int error = engine_open(&fixture->options, &fixture->engine, &reason);

	cr_assert_eq(error, 0, "engine_open: %s", reason.message);
	engine_ready(fixture->engine);
}

static inline void fixture_remount(struct fixture *fixture)
{
	engine_close(fixture->engine);
	fixture_mount(fixture);
}

static inline void fixture_open(struct fixture *fixture)
{
	*fixture = (struct fixture){.state = "/tmp/aionfs-test-XXXXXX"};
	cr_assert_not_null(mkdtemp(fixture->state));
	fixture->options.state = fixture->state;
	fixture->options.owner = getuid();
	fixture->caller = (struct caller){.uid = getuid(), .gid = getgid(), .pid = getpid()};
	decoder_set_program(getenv("AIONFS_DECODER"));
	fixture_mount(fixture);
}

static inline int fixture_remove_one(const char *path, const struct stat *attributes, int kind,
				     struct FTW *walk)
{
	(void)attributes;
	(void)kind;
	(void)walk;
	return remove(path);
}

static inline void fixture_close(struct fixture *fixture)
{
	engine_close(fixture->engine);
	nftw(fixture->state, fixture_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- archives ---- */

static inline void fixture_tar_entry(int file, const char *name, const char *body, size_t size,
				     unsigned mode)
{
	char header[512] = {0}, padding[512] = {0};
	unsigned sum = 0;

	snprintf(header, 100, "%s", name);
	snprintf(header + 100, 8, "%07o", mode);
	snprintf(header + 108, 8, "%07o", 0u);
	snprintf(header + 116, 8, "%07o", 0u);
	snprintf(header + 124, 12, "%011o", (unsigned)size);
	snprintf(header + 136, 12, "%011o", 0u);
	memset(header + 148, ' ', 8);
	header[156] = '0';
	memcpy(header + 257, "ustar\00000", 8);
	for (size_t i = 0; i < sizeof(header); i++)
		sum += (unsigned char)header[i];
	snprintf(header + 148, 8, "%06o", sum);
	cr_assert_eq(write(file, header, sizeof(header)), (ssize_t)sizeof(header));
	cr_assert_eq(write(file, body, size), (ssize_t)size);
	if (size % 512)
		cr_assert_eq(write(file, padding, 512 - size % 512), (ssize_t)(512 - size % 512));
}

static inline int fixture_archive_open(const char *type, const char *label)
{
	char manifest[256];
	int file = memfd_create("archive", MFD_CLOEXEC);

	cr_assert_geq(file, 0);
	snprintf(manifest, sizeof(manifest), "{\"entry_module\":\"%s\",\"label\":\"%s\"}", type,
		 label);
	fixture_tar_entry(file, "manifest.json", manifest, strlen(manifest), 0644);
	return file;
}

static inline void fixture_archive_end(int file)
{
	char zeros[1024] = {0};

	cr_assert_eq(write(file, zeros, sizeof(zeros)), (ssize_t)sizeof(zeros));
}

static inline int fixture_prepare(struct fixture *fixture, int file,
				  struct prepared **ret_prepared, struct reason *reason)
{
	off_t size = lseek(file, 0, SEEK_END);

	return deploy_prepare(fixture->engine, file, (uint64_t)size, NULL, ret_prepared, reason);
}

/* Deploys an archive and closes it. Returns the error. */
static inline int fixture_deploy_file(struct fixture *fixture, int file, enum box box,
				      const char *name, struct reason *reason)
{
	struct prepared *prepared = NULL;
	int error = fixture_prepare(fixture, file, &prepared, reason);

	close(file);
	if (error)
		return error;
	error = deploy_commit(fixture->engine, prepared, box, name, &fixture->caller, reason);
	if (error)
		deploy_discard(prepared);
	return error;
}

/* Deploys {manifest.json, body} and gives its version. */
static inline struct digest fixture_deploy(struct fixture *fixture, enum box box, const char *type,
					   const char *label, const char *body)
{
	struct reason reason = {0};
	struct receipt receipt;
	struct digest digest;
	char *version;
	int file = fixture_archive_open(type, label), error;

	fixture_tar_entry(file, "bin/run", body, strlen(body), 0755);
	fixture_archive_end(file);
	error = fixture_deploy_file(fixture, file, box, "fixture.tar", &reason);
	cr_assert_eq(error, 0, "deploy: %s: %s", reason.code, reason.message);
	cr_assert_eq(receipt_get(fixture->engine, box, "fixture.tar", &receipt), 0);
	version = strstr(receipt.text, "\"version\":\"");
	cr_assert_not_null(version, "%s", receipt.text);
	cr_assert_eq(digest_parse(version + 11, DIGEST_HEX, &digest), 0);
	free(receipt.text);
	return digest;
}

#endif
