/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of a mount. Refuses what it does not know, naming what it knows: a misspelt limit
 * that was silently ignored would be no limit.
 */
#include "fs/options.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

enum option_kind {
	OPTION_LIMIT,	 /* name=NUMBER into a uint64_t at `offset` */
	OPTION_DURATION, /* name=LENGTH into nanoseconds at `offset` */
	OPTION_GROUP,	 /* name=GROUP into a gid_t at `offset`, and a bool at `given` */
	OPTION_PACKAGE,	 /* package= */
	OPTION_SWITCH,	 /* sets a bool at `offset` */
	OPTION_UNSWITCH, /* clears it */
	OPTION_FLAG,	 /* sets `flag` for mount(2) */
	OPTION_UNFLAG,	 /* clears it */
	OPTION_IGNORED,	 /* mount(8)'s own, or without a meaning here */
	OPTION_REFUSED,
};

struct option_rule {
	const char *name;
	enum option_kind kind;
	size_t offset;
	unsigned long flag;
	const char *why; /* OPTION_REFUSED */
	size_t given;	 /* OPTION_GROUP */
};

#define LIMIT(field) offsetof(struct options, engine.limits.field)
#define ENGINE(field) offsetof(struct options, engine.field)
#define YEARS_MAX_NS (100ull * 365 * 24 * 3600 * 1000000000)

static const struct option_rule rules[] = {
    {"max_archive_bytes", OPTION_LIMIT, LIMIT(archive_bytes), 0, NULL, 0},
    {"max_inflated_bytes", OPTION_LIMIT, LIMIT(inflated_bytes), 0, NULL, 0},
    {"max_entries", OPTION_LIMIT, LIMIT(entries), 0, NULL, 0},
    {"deploy_group", OPTION_GROUP, ENGINE(deploy_group), 0, NULL, ENGINE(has_deploy_group)},
    {"start_group", OPTION_GROUP, ENGINE(start_group), 0, NULL, ENGINE(has_start_group)},
    {"max_attempts_running", OPTION_LIMIT, ENGINE(max_attempts_running), 0, NULL, 0},
    {"park_after", OPTION_DURATION, ENGINE(park_after_ns), 0, NULL, 0},
    {"keep_runs", OPTION_DURATION, ENGINE(keep_finished_ns), 0, NULL, 0},
    {"package", OPTION_PACKAGE, 0, 0, NULL, 0},
    {"no_scrub", OPTION_SWITCH, offsetof(struct options, engine.no_scrub), 0, NULL, 0},
    {"allow_other", OPTION_SWITCH, offsetof(struct options, allow_other), 0, NULL, 0},
    {"no_allow_other", OPTION_UNSWITCH, offsetof(struct options, allow_other), 0, NULL, 0},
    {"nosuid", OPTION_FLAG, 0, MS_NOSUID, NULL, 0},
    {"suid", OPTION_UNFLAG, 0, MS_NOSUID, NULL, 0},
    {"nodev", OPTION_FLAG, 0, MS_NODEV, NULL, 0},
    {"dev", OPTION_UNFLAG, 0, MS_NODEV, NULL, 0},
    {"noexec", OPTION_FLAG, 0, MS_NOEXEC, NULL, 0},
    {"exec", OPTION_UNFLAG, 0, MS_NOEXEC, NULL, 0},
    {"noatime", OPTION_FLAG, 0, MS_NOATIME, NULL, 0},
    {"atime", OPTION_UNFLAG, 0, MS_NOATIME, NULL, 0},
    {"relatime", OPTION_IGNORED, 0, 0, NULL, 0},
    {"sync", OPTION_IGNORED, 0, 0, NULL, 0}, /* every commit is */
    {"async", OPTION_IGNORED, 0, 0, NULL, 0},
    {"defaults", OPTION_IGNORED, 0, 0, NULL, 0},
    {"rw", OPTION_IGNORED, 0, 0, NULL, 0},
    {"auto", OPTION_IGNORED, 0, 0, NULL, 0},
    {"noauto", OPTION_IGNORED, 0, 0, NULL, 0},
    {"nofail", OPTION_IGNORED, 0, 0, NULL, 0},
    {"_netdev", OPTION_IGNORED, 0, 0, NULL, 0},
    {"user", OPTION_IGNORED, 0, 0, NULL, 0},
    {"nouser", OPTION_IGNORED, 0, 0, NULL, 0},
    {"users", OPTION_IGNORED, 0, 0, NULL, 0},
    {"owner", OPTION_IGNORED, 0, 0, NULL, 0},
    {"group", OPTION_IGNORED, 0, 0, NULL, 0},
    {"comment", OPTION_IGNORED, 0, 0, NULL, 0},
    {"ro", OPTION_REFUSED, 0, 0,
     "aionfs can't be mounted read-only: it is a place to deploy to. Who may deploy is said by "
     "deploy_group=; packages are read-only in any case", 0},
    {"remount", OPTION_REFUSED, 0, 0,
     "the options of a mounted state can't be changed: unmount it and mount it again", 0},
};

#define RULE_COUNT (sizeof(rules) / sizeof(*rules))

void options_init(struct options *options)
{
	*options = (struct options){
	    .engine.owner = getuid(),
	    .allow_other = getuid() == 0,
	    .mount_flags = MS_NOSUID | MS_NODEV,
	};
}

void options_free(struct options *options)
{
	for (size_t i = 0; i < options->engine.package_count; i++)
		free(options->owned[i]);
	options->engine.package_count = 0;
}

int options_number(const char *text, uint64_t *ret_number)
{
	static const char suffixes[] = "KMGT";
	uint64_t number = 0;
	const char *suffix;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	for (; isdigit((unsigned char)*text); text++) {
		if (__builtin_mul_overflow(number, 10u, &number) ||
		    __builtin_add_overflow(number, (uint64_t)(*text - '0'), &number))
			return -ERANGE;
	}
	if (*text) {
		suffix = strchr(suffixes, toupper((unsigned char)*text));
		if (!suffix || text[1])
			return -EINVAL;
		if (__builtin_mul_overflow(number, 1ull << (10 * (suffix - suffixes + 1)), &number))
			return -ERANGE;
	}
	if (number == 0)
		return -EINVAL;
	*ret_number = number;
	return 0;
}

int options_duration(const char *text, uint64_t *ret_ns)
{
	static const char suffixes[] = "smhd";
	static const uint64_t seconds[] = {1, 60, 3600, 24 * 3600};
	const char *suffix = "s";
	uint64_t number = 0;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	for (; isdigit((unsigned char)*text); text++) {
		number = number * 10 + (uint64_t)(*text - '0');
		if (number > YEARS_MAX_NS)
			return -ERANGE;
	}
	if (*text)
		suffix = text;
	if (!strchr(suffixes, suffix[0]) || suffix[1] || number == 0)
		return -EINVAL;
	if (__builtin_mul_overflow(number,
				   seconds[strchr(suffixes, suffix[0]) - suffixes] * 1000000000,
				   &number) ||
	    number > YEARS_MAX_NS)
		return -ERANGE;
	*ret_ns = number;
	return 0;
}

static int set_duration(struct options *options, const struct option_rule *rule, const char *value,
			struct reason *reason)
{
	uint64_t ns;
	int error = options_duration(value, &ns);

	if (error)
		return reason_set(reason, EINVAL, "option_invalid",
				  "%s=%s: %s. Write a whole number with s, m, h or d, as in %s=30d",
				  rule->name, value,
				  error == -ERANGE ? "that is more than 100 years"
						   : "that is no length of time",
				  rule->name);
	memcpy((char *)options + rule->offset, &ns, sizeof(ns));
	return 0;
}

static int set_limit(struct options *options, const struct option_rule *rule, const char *value,
		     struct reason *reason)
{
	uint64_t number;
	int error = options_number(value, &number);

	if (error)
		return reason_set(reason, EINVAL, "option_invalid",
				  "%s=%s: %s. Write a whole number from 1 on, as in %s=2G (K, M, G "
				  "and T are powers of 1024)",
				  rule->name, value,
				  error == -ERANGE ? "that is too large" : "that is no number",
				  rule->name);
	memcpy((char *)options + rule->offset, &number, sizeof(number));
	return 0;
}

static int set_group(struct options *options, const struct option_rule *rule, const char *value,
		     struct reason *reason)
{
	const struct group *group = getgrnam(value);
	uint64_t number;
	gid_t gid;

	if (group) {
		gid = group->gr_gid;
	} else if (strspn(value, "0123456789") == strlen(value) &&
		   (strcmp(value, "0") == 0 || options_number(value, &number) == 0) &&
		   strtoull(value, NULL, 10) < UINT32_MAX) {
		gid = (gid_t)strtoul(value, NULL, 10);
	} else {
		return reason_set(reason, EINVAL, "option_invalid",
				  "%s=%s: there is no such group", rule->name, value);
	}
	memcpy((char *)options + rule->offset, &gid, sizeof(gid));
	*(bool *)((char *)options + rule->given) = true;
	return 0;
}

static int add_package(struct options *options, const char *value, struct reason *reason)
{
	size_t number = options->engine.package_count;

	if (number == ENGINE_PACKAGES_MAX)
		return reason_set(reason, E2BIG, "option_invalid",
				  "package=%s: there are more than %d operator packages", value,
				  ENGINE_PACKAGES_MAX);
	options->owned[number] = strdup(value);
	if (!options->owned[number])
		return reason_set(reason, ENOMEM, "option_invalid", "no memory left");
	options->engine.packages[number] = options->owned[number];
	options->engine.package_count = number + 1;
	return 0;
}

static bool takes_value(const struct option_rule *rule)
{
	return rule->kind == OPTION_LIMIT || rule->kind == OPTION_DURATION ||
	       rule->kind == OPTION_GROUP || rule->kind == OPTION_PACKAGE;
}

static int apply(struct options *options, const struct option_rule *rule, const char *value,
		 struct reason *reason)
{
	if (takes_value(rule) && (!value || !value[0]))
		return reason_set(reason, EINVAL, "option_invalid", "%s needs a value: %s=...",
				  rule->name, rule->name);
	if (!takes_value(rule) && value && rule->kind != OPTION_IGNORED)
		return reason_set(reason, EINVAL, "option_invalid", "%s takes no value, not =%s",
				  rule->name, value);
	switch (rule->kind) {
	case OPTION_LIMIT:
		return set_limit(options, rule, value, reason);
	case OPTION_DURATION:
		return set_duration(options, rule, value, reason);
	case OPTION_GROUP:
		return set_group(options, rule, value, reason);
	case OPTION_PACKAGE:
		return add_package(options, value, reason);
	case OPTION_SWITCH:
	case OPTION_UNSWITCH:
		*(bool *)((char *)options + rule->offset) = rule->kind == OPTION_SWITCH;
		return 0;
	case OPTION_FLAG:
		options->mount_flags |= rule->flag;
		return 0;
	case OPTION_UNFLAG:
		options->mount_flags &= ~rule->flag;
		return 0;
	case OPTION_IGNORED:
		return 0;
	case OPTION_REFUSED:
		break;
	}
	return reason_set(reason, EINVAL, "option_invalid", "%s: %s", rule->name, rule->why);
}

static int refuse_unknown(const char *name, struct reason *reason)
{
	return reason_set(reason, EINVAL, "option_unknown",
			  "there is no mount option %.100s. The options are: allow_other, "
			  "no_allow_other, deploy_group=NAME|GID, start_group=NAME|GID, "
			  "package=FILE, max_archive_bytes=N, max_inflated_bytes=N, max_entries=N, "
			  "max_attempts_running=N, park_after=TIME, keep_runs=TIME, no_scrub, and "
			  "those of every filesystem (nosuid, nodev, noexec, nofail, ...)",
			  name);
}

/* One option: `text` is NUL-terminated and changed. */
static int parse_one(struct options *options, char *text, bool sloppy, struct reason *reason)
{
	char *value = strchr(text, '=');

	/* For other programs: x-systemd.*, X-mount.*. */
	if (!text[0] || strncasecmp(text, "x-", 2) == 0)
		return 0;
	if (value)
		*value++ = '\0';
	for (size_t i = 0; i < RULE_COUNT; i++) {
		if (strcmp(text, rules[i].name) == 0)
			return apply(options, &rules[i], value, reason);
	}
	return sloppy ? 0 : refuse_unknown(text, reason);
}

/* Ends the option that begins at `text` and takes its backslashes away. Returns the next one. */
static char *cut(char *text)
{
	char *to = text;

	for (; *text && *text != ','; text++) {
		if (text[0] == '\\' && (text[1] == ',' || text[1] == '\\'))
			text++;
		*to++ = *text;
	}
	if (*text)
		text++;
	else
		text = NULL;
	*to = '\0';
	return text;
}

int options_parse(struct options *options, const char *text, bool sloppy, struct reason *reason)
{
	char *copy = strdup(text), *next = copy;
	int error = 0;

	if (!copy)
		return reason_set(reason, ENOMEM, "option_invalid", "no memory left");
	while (next && !error) {
		char *option = next;

		next = cut(option);
		error = parse_one(options, option, sloppy, reason);
	}
	free(copy);
	return error;
}

int options_resolve(struct options *options, struct reason *reason)
{
	for (size_t i = 0; i < options->engine.package_count; i++) {
		char *path = realpath(options->owned[i], NULL);

		if (!path)
			return reason_set(reason, errno, "operator_package", "package=%s: %s",
					  options->owned[i], strerror(errno));
		free(options->owned[i]);
		options->owned[i] = path;
		options->engine.packages[i] = path;
	}
	return 0;
}
