/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `aionfs pack` and `aionfs hash`: what a mount would make of a directory or an archive, without
 * one. They go the way of a deploy, decoder and judge included, so that their answer is the
 * mount's. A file that pack writes is there whole and durable, or not at all. Refused: an archive
 * within the directory that is packed, which the next packing would find there.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/admission.h"
#include "engine/engine.h"
#include "engine/pack.h"
#include "fs/commands.h"
#include "fs/say.h"

/* ---- pack ---- */

struct output {
	int file;
	uint64_t bytes;
	const char *path; /* -o, or NULL */
	char *temporary;  /* the name it has until it is whole; NULL for stdout */
};

static int write_all(void *context, const void *bytes, size_t length)
{
	struct output *output = context;
	const char *from = bytes;

	while (length > 0) {
		ssize_t put = write(output->file, from, length);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		from += put;
		length -= (size_t)put;
		output->bytes += (uint64_t)put;
	}
	say_progress("pack", output->bytes >> 20, 0, "MiB");
	return 0;
}

static int open_output(struct output *output)
{
	const char *path = output->path ? output->path : "";
	const char *slash = strrchr(path, '/');
	int length = slash ? (int)(slash - path + 1) : 0;
	mode_t mask = umask(0);

	umask(mask);
	if (!output->path && !isatty(STDOUT_FILENO)) {
		output->file = STDOUT_FILENO;
		return 0;
	}
	if (asprintf(&output->temporary, "%.*s.aionfs-pack-XXXXXX", length, path) < 0) {
		output->temporary = NULL;
		return -ENOMEM;
	}
	output->file = mkostemp(output->temporary, O_CLOEXEC);
	if (output->file < 0)
		return -errno;
	return fchmod(output->file, 0666 & ~mask) == 0 ? 0 : -errno;
}

/* TYPE-LABEL.tar, or TYPE-VERSION.tar with the version's first digits when there is no label. */
static char *choose_name(const struct manifest *manifest, const struct digest *version)
{
	char hex[DIGEST_HEX + 1], *name;
	const char *label = manifest->label;

	digest_hex(version, hex);
	hex[12] = '\0';
	if (asprintf(&name, "%s-%s.tar", manifest->type, label[0] ? label : hex) < 0)
		return NULL;
	for (char *at = name; *at; at++) {
		if (*at == '/' || (unsigned char)*at < 0x20 || *at == 0x7f)
			*at = '_';
	}
	return name;
}

static int sync_directory_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *parent = slash ? strndup(path, (size_t)(slash - path + 1)) : strdup(".");
	int directory = parent ? open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int error = directory >= 0 && fsync(directory) == 0 ? 0 : -errno;

	if (directory >= 0)
		close(directory);
	free(parent);
	return error;
}

/* The file gets its name. A name that nobody chose replaces nothing. */
static int publish(struct output *output, const char *name, bool chosen)
{
	if (fsync(output->file) != 0 || renameat2(AT_FDCWD, output->temporary, AT_FDCWD, name,
						  chosen ? 0 : RENAME_NOREPLACE) != 0)
		return -errno;
	free(output->temporary);
	output->temporary = NULL;
	return sync_directory_of(name);
}

static int finish_output(struct output *output, const struct manifest *manifest,
			 const struct digest *version)
{
	char hex[DIGEST_HEX + 1];
	char *name;
	int error;

	if (!output->temporary)
		return 0;
	name = output->path ? strdup(output->path) : choose_name(manifest, version);
	if (!name)
		return -ENOMEM;
	error = publish(output, name, output->path != NULL);
	if (error == -EEXIST)
		say("pack: %s exists already; name a file with -o", name);
	else if (error)
		say("pack: %s could not be written: %s", name, strerror(-error));
	else if (!output->path)
		say("%s is version %s", name, digest_hex(version, hex));
	free(name);
	return error;
}

static int pack_into(struct output *output, const char *directory)
{
	struct manifest manifest;
	struct digest version;
	struct reason reason = {0};
	int error = pack_directory(directory, write_all, output, &manifest, &version, &reason);

	if (!error)
		return finish_output(output, &manifest, &version) ? EXIT_FAILED : EXIT_DONE;
	say_reason(directory, &reason, error);
	return EXIT_FAILED;
}

/* Whether `inner` is the directory `outer` or below it; false when that can't be found out. */
static bool lies_in(const char *inner, const char *outer)
{
	struct stat wanted, here, above = {0};
	int at = open(inner, O_PATH | O_DIRECTORY | O_CLOEXEC), up;
	bool found = false, known = at >= 0 && stat(outer, &wanted) == 0 && fstat(at, &here) == 0;

	while (known && !found) {
		found = here.st_dev == wanted.st_dev && here.st_ino == wanted.st_ino;
		up = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		known = up >= 0 && fstat(up, &above) == 0 &&
			(above.st_dev != here.st_dev || above.st_ino != here.st_ino);
		here = above;
		close(at);
		at = up;
	}
	if (at >= 0)
		close(at);
	return found;
}

/* Whether the archive would be part of the package: each packing would give another version. */
static bool output_lies_in(const struct output *output, const char *directory)
{
	char path[PATH_MAX] = "", *slash;
	struct stat status;

	if (output->path) {
		snprintf(path, sizeof(path), "%s", output->path);
	} else if (!isatty(STDOUT_FILENO)) {
		ssize_t length = readlink("/proc/self/fd/1", path, sizeof(path) - 1);

		if (length < 0 || fstat(STDOUT_FILENO, &status) != 0 || !S_ISREG(status.st_mode))
			return false;
		path[length] = '\0';
	}
	slash = strrchr(path, '/');
	if (slash)
		slash[1] = '\0';
	return lies_in(slash ? path : ".", directory);
}

static int take_output(void *context, int letter, char *value)
{
	(void)letter;
	((struct output *)context)->path = value;
	return EXIT_DONE;
}

static int run_pack(int argc, char **argv)
{
	struct output output = {.file = -1};
	int first, code, error;

	if (command_options(&command_pack, argc, argv, "o:", take_output, &output, &first, &code))
		return code;
	if (argc - first != 1)
		return command_usage(&command_pack);
	if (output_lies_in(&output, argv[first])) {
		say("pack: the archive would lie in %s and become part of the package; name a file "
		    "outside of it with -o",
		    argv[first]);
		return EXIT_FAILED;
	}
	error = open_output(&output);
	if (error) {
		say("pack: %s could not be written: %s",
		    output.path ? output.path : "a file in this directory", strerror(-error));
		code = EXIT_FAILED;
	} else {
		code = pack_into(&output, argv[first]);
	}
	say_progress_end();
	if (output.temporary)
		unlink(output.temporary);
	free(output.temporary);
	if (output.file > STDERR_FILENO)
		close(output.file);
	return code;
}

/* ---- hash ---- */

static int hash_archive(const char *path, int file, uint64_t size, struct digest *ret_version,
			struct reason *reason)
{
	/* As large as any: what an option of some mount refuses is still the same version. */
	static const struct engine_limits limits = {
	    .archive_bytes = INT64_MAX, .inflated_bytes = INT64_MAX, .entries = 100000000};
	const atomic_bool cancel = false;
	struct admission admission = {
	    .name = path, .spool = file, .spool_bytes = size, .cancel = &cancel};
	struct admitted admitted = {0};
	struct digest signature;
	int error;

	admission_limits(&limits, &admission.limits);
	error = admission_run(&admission, &admitted, &signature, reason);
	if (!error)
		*ret_version = admitted.version;
	admitted_free(&admitted);
	return error;
}

static int hash_path(const char *path, struct digest *ret_version, struct reason *reason)
{
	struct manifest manifest;
	struct stat attributes;
	int file = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), error;

	if (file < 0)
		return -errno;
	if (fstat(file, &attributes) != 0)
		error = -errno;
	else if (S_ISDIR(attributes.st_mode))
		error = pack_directory(path, NULL, NULL, &manifest, ret_version, reason);
	else if (S_ISREG(attributes.st_mode))
		error = hash_archive(path, file, (uint64_t)attributes.st_size, ret_version, reason);
	else
		error = reason_set(reason, EINVAL, "entry_unsupported",
				   "that is neither a directory nor a regular file");
	close(file);
	return error;
}

static int run_hash(int argc, char **argv)
{
	char hex[DIGEST_HEX + 1];
	int first, code, result = EXIT_DONE;

	if (command_options(&command_hash, argc, argv, "", NULL, NULL, &first, &code))
		return code;
	if (first == argc)
		return command_usage(&command_hash);
	for (int i = first; i < argc; i++) {
		struct reason reason = {0};
		struct digest version;
		int error = hash_path(argv[i], &version, &reason);

		if (error) {
			say_reason(argv[i], &reason, error);
			result = EXIT_FAILED;
		} else {
			printf("%s  %s\n", digest_hex(&version, hex), argv[i]);
		}
	}
	return say_finish(result);
}

const struct command command_pack = {
    .name = "pack",
    .arguments = "[-o FILE] DIRECTORY",
    .summary = "make the canonical archive of a directory",
    .details =
	"Judges the directory as a deploy would, and writes the archive of it that every\n"
	"mount generates, too: the same contents give the same bytes.\n"
	"\n"
	"  -o FILE   write to FILE, which is there whole or not at all. The default is stdout,\n"
	"            or, when that is a terminal, a new file TYPE-LABEL.tar. Neither may lie\n"
	"            in DIRECTORY: the archive would become part of the package.\n",
    .run = run_pack,
};

const struct command command_hash = {
    .name = "hash",
    .arguments = "FILE|DIRECTORY...",
    .summary = "print the version of an archive or a directory",
    .details =
	"Prints the version that a deploy of it has, in the form of sha256sum. An archive is\n"
	"decoded and judged as a deploy would, in the same locked-up process.\n",
    .run = run_hash,
};
