/* SPDX-License-Identifier: Apache-2.0 */
/* The mount's options: limits, groups, packages, those that fstab has, and refusals. */
#include "fs/options.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

static struct options options;
static struct reason reason;

static void begin(void)
{
	memset(&reason, 0, sizeof(reason));
	options_init(&options);
}

static void end(void)
{
	options_free(&options);
}

TestSuite(options, .init = begin, .fini = end);

static int parse(const char *text)
{
	return options_parse(&options, text, false, &reason);
}

Test(options, numbers_have_suffixes)
{
	static const struct {
		const char *text;
		uint64_t number;
	} good[] = {
	    {"1", 1},		{"4096", 4096},	    {"2k", 2048},
	    {"2K", 2048},	{"3M", 3ull << 20}, {"16G", 16ull << 30},
	    {"1T", 1ull << 40}, {"007", 7},	    {"18446744073709551615", UINT64_MAX},
	};
	uint64_t number;

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		cr_assert_eq(options_number(good[i].text, &number), 0, "%s", good[i].text);
		cr_assert_eq(number, good[i].number, "%s", good[i].text);
	}
}

Test(options, what_is_no_number_is_refused)
{
	static const char *const bad[] = {"",	"0", "-5", "+5",   " 5",   "5 ",  "5KB",
					  "5X", "K", "0G", "many", "1.5G", "0x10"};
	uint64_t number = 77;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		cr_assert_eq(options_number(bad[i], &number), -EINVAL, "%s", bad[i]);
	cr_assert_eq(options_number("18446744073709551616", &number), -ERANGE);
	cr_assert_eq(options_number("99999999999T", &number), -ERANGE);
	cr_assert_eq(number, 77u);
}

Test(options, limits_are_set)
{
	cr_assert_eq(parse("max_archive_bytes=1M,max_inflated_bytes=2M,max_entries=30"), 0);
	cr_assert_eq(options.engine.limits.archive_bytes, 1u << 20);
	cr_assert_eq(options.engine.limits.inflated_bytes, 2u << 20);
	cr_assert_eq(options.engine.limits.entries, 30u);
}

Test(options, the_last_one_counts)
{
	cr_assert_eq(parse("max_entries=1,max_entries=2"), 0);
	cr_assert_eq(parse("max_entries=3"), 0);
	cr_assert_eq(options.engine.limits.entries, 3u);
	cr_assert_eq(parse("allow_other,no_allow_other"), 0);
	cr_assert(!options.allow_other);
	cr_assert_eq(parse("allow_other"), 0);
	cr_assert(options.allow_other);
}

Test(options, allow_other_is_the_default_of_root)
{
	cr_assert_eq(options.allow_other, getuid() == 0);
	cr_assert_eq(options.engine.owner, getuid());
}

Test(options, groups_by_name_and_number)
{
	cr_assert(!options.engine.has_deploy_group);
	cr_assert_eq(parse("deploy_group=root"), 0);
	cr_assert(options.engine.has_deploy_group);
	cr_assert_eq(options.engine.deploy_group, 0u);
	cr_assert_eq(parse("deploy_group=54321"), 0);
	cr_assert_eq(options.engine.deploy_group, 54321u);
	cr_assert_eq(parse("deploy_group=0"), 0);
	cr_assert_eq(options.engine.deploy_group, 0u);
}

Test(options, a_group_that_is_none)
{
	static const char *const bad[] = {"deploy_group=no-such-group-here",
					  "deploy_group=-1",
					  "deploy_group=4294967295",
					  "deploy_group=99999999999999",
					  "deploy_group=4K",
					  "deploy_group=",
					  "deploy_group"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		cr_assert_eq(parse(bad[i]), -EINVAL, "%s", bad[i]);
		cr_assert_not_null(strstr(reason.message, "deploy_group"));
	}
}

Test(options, who_may_start_is_a_group_of_its_own)
{
	cr_assert_eq(parse("start_group=54321"), 0);
	cr_assert(options.engine.has_start_group);
	cr_assert_eq(options.engine.start_group, 54321u);
	cr_assert(!options.engine.has_deploy_group);
	cr_assert_eq(parse("deploy_group=5"), 0);
	cr_assert_eq(options.engine.start_group, 54321u);
	cr_assert_eq(options.engine.deploy_group, 5u);
	cr_assert_eq(parse("start_group=no-such-group-here"), -EINVAL);
	cr_assert_not_null(strstr(reason.message, "start_group"));
}

Test(options, lengths_of_time_have_suffixes)
{
	static const struct {
		const char *text;
		uint64_t seconds;
	} good[] = {{"1", 1},	    {"90", 90},	      {"90s", 90},
		    {"2m", 120},    {"36h", 129600},  {"30d", 2592000},
		    {"036h", 129600}, {"36500d", 36500ull * 86400}};
	static const char *const bad[] = {"",	"0",  "0d",   "-1", "1w", "1D",
					  "1dd", "d", "1.5h", " 1", "1 s", "1m30s"};
	uint64_t ns = 77;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		cr_assert_eq(options_duration(bad[i], &ns), -EINVAL, "%s", bad[i]);
	cr_assert_eq(options_duration("36501d", &ns), -ERANGE);
	cr_assert_eq(options_duration("99999999999999999999999d", &ns), -ERANGE);
	cr_assert_eq(options_duration("18446744073709551615", &ns), -ERANGE);
	cr_assert_eq(ns, 77u);
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		cr_assert_eq(options_duration(good[i].text, &ns), 0, "%s", good[i].text);
		cr_assert_eq(ns, good[i].seconds * 1000000000, "%s", good[i].text);
	}
}

Test(options, how_runs_are_treated)
{
	cr_assert_eq(parse("max_attempts_running=7,park_after=1,keep_runs=30d"), 0);
	cr_assert_eq(options.engine.max_attempts_running, 7u);
	cr_assert_eq(options.engine.park_after_ns, 1000000000u);
	cr_assert_eq(options.engine.keep_finished_ns, 30ull * 86400 * 1000000000);
	cr_assert_eq(parse("park_after=soon"), -EINVAL);
	cr_assert_not_null(strstr(reason.message, "park_after=30d"));
	cr_assert_eq(parse("keep_runs="), -EINVAL);
	cr_assert_eq(parse("max_attempts_running=0"), -EINVAL);
}

Test(options, packages_add_up_in_order)
{
	cr_assert_eq(parse("package=/a.tar,package=b.tar"), 0);
	cr_assert_eq(parse("package=c\\,d\\\\e.tar"), 0);
	cr_assert_eq(options.engine.package_count, 3u);
	cr_assert_str_eq(options.engine.packages[0], "/a.tar");
	cr_assert_str_eq(options.engine.packages[1], "b.tar");
	cr_assert_str_eq(options.engine.packages[2], "c,d\\e.tar");
}

Test(options, too_many_packages)
{
	for (int i = 0; i < ENGINE_PACKAGES_MAX; i++)
		cr_assert_eq(parse("package=x"), 0);
	cr_assert_eq(parse("package=x"), -E2BIG);
}

Test(options, packages_become_absolute)
{
	cr_assert_eq(chdir("/proc"), 0);
	cr_assert_eq(parse("package=version,package=nonexistent"), 0);
	cr_assert_eq(options_resolve(&options, &reason), -ENOENT);
	cr_assert_str_eq(options.engine.packages[0], "/proc/version");
	cr_assert_not_null(strstr(reason.message, "nonexistent"));
}

Test(options, the_kernels_flags_are_passed_on)
{
	cr_assert_eq(options.mount_flags, (unsigned long)(MS_NOSUID | MS_NODEV));
	cr_assert_eq(parse("noexec,noatime"), 0);
	cr_assert_eq(options.mount_flags,
		     (unsigned long)(MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME));
	cr_assert_eq(parse("exec,suid,dev,atime"), 0);
	cr_assert_eq(options.mount_flags, 0ul);
}

Test(options, what_fstab_has_is_taken)
{
	cr_assert_eq(parse("defaults,rw,noauto,auto,nofail,_netdev,user,user=bob,users,owner,group,"
			   "nouser,x-systemd.automount,x-systemd.requires=a.service,X-mount.mkdir,"
			   "comment=hello,sync,async,relatime"),
		     0);
	cr_assert_eq(parse(""), 0);
	cr_assert_eq(parse(",,rw,"), 0);
}

Test(options, unknown_ones_are_named_with_the_known)
{
	cr_assert_eq(parse("rw,shiny=1,nosuid"), -EINVAL);
	cr_assert_str_eq(reason.code, "option_unknown");
	cr_assert_not_null(strstr(reason.message, "shiny"));
	cr_assert_not_null(strstr(reason.message, "max_entries"));
	cr_assert_eq(parse("MAX_ENTRIES=1"), -EINVAL);
	cr_assert_eq(options_parse(&options, "shiny,max_entries=9", true, &reason), 0);
	cr_assert_eq(options.engine.limits.entries, 9u);
}

Test(options, read_only_and_remount_are_explained)
{
	cr_assert_eq(parse("ro"), -EINVAL);
	cr_assert_not_null(strstr(reason.message, "read-only"));
	cr_assert_eq(parse("remount"), -EINVAL);
}

Test(options, values_where_none_belong)
{
	cr_assert_eq(parse("no_scrub=1"), -EINVAL);
	cr_assert_eq(parse("no_scrub"), 0);
	cr_assert(options.engine.no_scrub);
	cr_assert_eq(parse("max_entries"), -EINVAL);
	cr_assert_eq(parse("max_entries="), -EINVAL);
}

Test(options, garbage_does_no_harm)
{
	static const char *const garbage[] = {
	    "\\", "\\,", "=", "==,=", ",\\", "x-", "=x", "package=\\"};

	for (size_t i = 0; i < sizeof(garbage) / sizeof(*garbage); i++)
		options_parse(&options, garbage[i], false, &reason);
}
