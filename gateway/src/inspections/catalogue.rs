//! What an inspection looks at: each check with its stable code, by what it is judged and what to do about it.

use formats::inspection_report::Grade;
use formats::words::Words;

/// What checks are about, in the order of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    Devices,
    Database,
    Storage,
    Host,
    Interfaces,
    Certificates,
    Audit,
    Security,
}

impl Group {
    pub(crate) const ALL: [Self; 8] = [
        Self::Devices,
        Self::Database,
        Self::Storage,
        Self::Host,
        Self::Interfaces,
        Self::Certificates,
        Self::Audit,
        Self::Security,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Devices => "devices",
            Self::Database => "database",
            Self::Storage => "storage",
            Self::Host => "host",
            Self::Interfaces => "interfaces",
            Self::Certificates => "certificates",
            Self::Audit => "audit",
            Self::Security => "security",
        }
    }

    pub(crate) fn words(self) -> Words {
        match self {
            Self::Devices => Words::new("密码设备", "Devices"),
            Self::Database => Words::new("数据库", "Database"),
            Self::Storage => Words::new("存储", "Storage"),
            Self::Host => Words::new("主机", "Host"),
            Self::Interfaces => Words::new("接口", "Interfaces"),
            Self::Certificates => Words::new("证书与印章", "Certificates and seals"),
            Self::Audit => Words::new("审计日志", "Audit log"),
            Self::Security => Words::new("安全", "Security"),
        }
    }
}

/// By what a check is judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Limit {
    /// Attention from the first figure on, abnormal from the second one on.
    AtLeast(f64, f64, &'static str),
    /// Attention at the first figure and below, abnormal at the second one and below.
    AtMost(f64, f64, &'static str),
    /// What it must be like, in words.
    State(Words),
}

/// A kind of check.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CheckKind {
    pub(crate) code: &'static str,
    pub(crate) group: Group,
    pub(crate) what: Words,
    pub(crate) limit: Limit,
    /// What to do where it is not ok.
    pub(crate) advice: Words,
    /// Daily inspections leave it out.
    pub(crate) weekly: bool,
}

const DAYS_LEFT: Limit = Limit::AtMost(30.0, 7.0, " d");
/// 内存、CPU、磁盘 70 %: who has to look into it is named by the advice.
const FULLNESS: Limit = Limit::AtLeast(70.0, 90.0, " %");
const INVESTIGATE: Words = Words::new(
    "达到 70%：由项目经理与技术负责人共同排查原因，并将原因记入事件",
    "at 70 % the project manager and the technical lead look for the cause together, and put it on file",
);
const RENEW: Words =
    Words::new("在到期前更换；30 天起提醒", "replace it before it ends; notices begin at 30 days");

const fn state(zh: &'static str, en: &'static str) -> Limit {
    Limit::State(Words::new(zh, en))
}

const fn check(code: &'static str, group: Group, what: Words, limit: Limit, advice: Words) -> CheckKind {
    CheckKind { code, group, what, limit, advice, weekly: false }
}

const fn weekly(code: &'static str, group: Group, what: Words, limit: Limit, advice: Words) -> CheckKind {
    CheckKind { code, group, what, limit, advice, weekly: true }
}

/// All of them, in the order of the report.
pub(crate) const CHECKS: &[CheckKind] = &[
    check(
        "device.state",
        Group::Devices,
        Words::new("设备可达且在用", "device reachable and in service"),
        state("在用；停用、隔离或不可达为异常", "in service; down or quarantined is abnormal"),
        Words::new(
            "查看设备页的最近错误，必要时重启工作进程或更换设备",
            "see the device's last error; restart its worker or replace it",
        ),
    ),
    check(
        "device.sessions",
        Group::Devices,
        Words::new("会话数", "sessions"),
        state("不少于配置的会话数；一个也没有为异常", "as many as configured; none is abnormal"),
        Words::new(
            "核对设备的会话上限与其他占用者",
            "compare the device's limit of sessions and who else uses them",
        ),
    ),
    check(
        "device.key_drift",
        Group::Devices,
        Words::new("密钥与登记一致", "keys as registered"),
        state("登记的密钥均在设备中且经签名证实", "every registered key is there and proved by a signature"),
        Words::new(
            "缺失或不一致的密钥不会被使用；按密钥仪式恢复",
            "a key that is missing or another one is not used; bring it back by a ceremony",
        ),
    ),
    check(
        "device.sm2",
        Group::Devices,
        Words::new("SM2 自检（设备签名，软件验证）", "SM2 test: the device signs, software verifies"),
        state("全部验证通过", "every signature verifies"),
        Words::new("停用该设备并联系厂商", "take the device out of service and call its vendor"),
    ),
    check(
        "device.sm3",
        Group::Devices,
        Words::new("SM3 已知答案（GB/T 32905 A.1）", "SM3 known answer (GB/T 32905 A.1)"),
        state("与标准一致", "as published"),
        Words::new("停用该设备并联系厂商", "take the device out of service and call its vendor"),
    ),
    check(
        "device.sm4",
        Group::Devices,
        Words::new("SM4 已知答案（GB/T 32907 A.1）", "SM4 known answer (GB/T 32907 A.1)"),
        state("与标准一致", "as published"),
        Words::new("停用该设备并联系厂商", "take the device out of service and call its vendor"),
    ),
    check(
        "device.self_test",
        Group::Devices,
        Words::new("自检", "self-test"),
        state("无失败项", "no part of it fails"),
        Words::new(
            "在设备页查看失败项；隔离中的设备须自检通过才能恢复",
            "see on the device's page what failed; a quarantined device must pass to come back",
        ),
    ),
    weekly(
        "device.random",
        Group::Devices,
        Words::new(
            "随机数检测（单比特、扑克、游程、自相关，20 000 比特）",
            "random numbers (monobit, poker, runs, autocorrelation over 20,000 bits)",
        ),
        state(
            "每项 P ≥ 0.0001；不足时换样本复检，复检通过为需关注，仍不足或 P < 10⁻⁹ 为异常",
            "P ≥ 0.0001 of each; below that another sample: passed is attention, else abnormal, as is P < 10⁻⁹ at once",
        ),
        Words::new(
            "停用该设备：随机数发生器可能失效",
            "take the device out of service: its generator may have failed",
        ),
    ),
    check(
        "device.latency",
        Group::Devices,
        Words::new("签名延迟对比自身基线", "latency against its own baseline"),
        Limit::AtLeast(2.0, 5.0, " ×"),
        Words::new(
            "对比同组设备与网络；过慢的设备自动降级",
            "compare the group's other devices and the network; a slow device is asked last by itself",
        ),
    ),
    check(
        "database.answer",
        Group::Database,
        Words::new("数据库应答时间", "time to the database's answer"),
        Limit::AtLeast(100.0, 1000.0, " ms"),
        Words::new("检查数据库负载与磁盘", "look at the database's load and disk"),
    ),
    check(
        "database.connections",
        Group::Database,
        Words::new("数据库连接占用", "connections in use"),
        FULLNESS,
        Words::new(
            "查找长期占用连接者，或提高上限",
            "find who holds connections for long, or raise the limit",
        ),
    ),
    check(
        "database.size",
        Group::Database,
        Words::new("数据库大小与增长", "size of the database and its growth"),
        state("记录，不设阈值；空间见存储", "noted without a threshold; for space see storage"),
        Words::new("按增长安排扩容", "plan by its growth"),
    ),
    check(
        "database.migrations",
        Group::Database,
        Words::new("数据库结构版本", "schema as this program has it"),
        state("已应用的迁移数与程序一致", "as many migrations applied as the program has"),
        Words::new("各网关升级到同一版本", "bring all gateways to one version"),
    ),
    check("storage.space", Group::Storage, Words::new("存储空间占用", "space in use"), FULLNESS, INVESTIGATE),
    check(
        "storage.writable",
        Group::Storage,
        Words::new("存储可读写", "storage can be written and read"),
        state("写入后读回一致", "what is written is read back"),
        Words::new("检查挂载、权限与介质", "look at mount, rights and medium"),
    ),
    check("host.cpu", Group::Host, Words::new("CPU 占用", "CPU in use"), FULLNESS, INVESTIGATE),
    check("host.memory", Group::Host, Words::new("内存占用", "memory in use"), FULLNESS, INVESTIGATE),
    check("host.disk", Group::Host, Words::new("系统盘占用", "system disk in use"), FULLNESS, INVESTIGATE),
    check(
        "interface.errors",
        Group::Interfaces,
        Words::new(
            "本网关应答中的 5xx 比例（自上次巡检，至少一小时）",
            "share of 5xx among this gateway's answers since the last inspection, an hour at least",
        ),
        Limit::AtLeast(1.0, 5.0, " %"),
        Words::new("按问题码指标查找来源", "find where they come from by the metric of problem codes"),
    ),
    check(
        "interface.register",
        Group::Interfaces,
        Words::new("登记状态接口", "register of registration statuses"),
        state("未因连续失败而暂停", "not left alone because it failed"),
        Words::new("联系登记状态接口的提供方", "call who runs the register's service"),
    ),
    check(
        "certificate.listener",
        Group::Certificates,
        Words::new("服务证书剩余天数", "days left of the listeners' certificate"),
        DAYS_LEFT,
        RENEW,
    ),
    check(
        "certificate.key",
        Group::Certificates,
        Words::new("签名密钥证书剩余天数", "days left of keys' certificates"),
        DAYS_LEFT,
        RENEW,
    ),
    check(
        "certificate.seal",
        Group::Certificates,
        Words::new("电子印章剩余天数", "days left of seals"),
        DAYS_LEFT,
        RENEW,
    ),
    check(
        "certificate.app",
        Group::Certificates,
        Words::new("应用凭证剩余天数", "days left of apps' credentials"),
        DAYS_LEFT,
        RENEW,
    ),
    check(
        "audit.checkpoint",
        Group::Audit,
        Words::new("审计日志未被检查点覆盖的时间", "time for which entries have waited for a checkpoint"),
        Limit::AtLeast(60.0, 600.0, " s"),
        Words::new("检查用途为 audit 的密钥与设备", "look at the key of purpose audit and its devices"),
    ),
    check(
        "audit.anchor",
        Group::Audit,
        Words::new("检查点外送", "checkpoints leave the house"),
        state(
            "最近一个到达锚定文件或地址；未配置为需关注",
            "the last one got to its file or address; none configured is attention",
        ),
        Words::new(
            "配置 audit.anchor_file 或 audit.anchor_url，检查其磁盘或网络",
            "configure audit.anchor_file or audit.anchor_url; look at its disk or network",
        ),
    ),
    weekly(
        "security.passwords",
        Group::Security,
        Words::new(
            "未改的初始口令与缺失的第二因子",
            "initial passwords that stayed, and accounts without a second factor",
        ),
        state("没有", "none"),
        Words::new(
            "让本人登录修改并绑定，或停用账号",
            "have the person sign in and change it, or turn the account off",
        ),
    ),
    weekly(
        "security.unused_accounts",
        Group::Security,
        Words::new("90 天未用的账号", "accounts unused for 90 days"),
        state("没有", "none"),
        Words::new("核实后停用", "turn them off when nobody needs them"),
    ),
    weekly(
        "security.tokens",
        Group::Security,
        Words::new("90 天未用的个人令牌", "personal tokens unused for 90 days"),
        state("没有", "none"),
        Words::new("由本人或管理员终止", "have them ended"),
    ),
    weekly(
        "security.api_keys",
        Group::Security,
        Words::new("x-api-key 已关闭", "x-api-key is off"),
        state("生产环境不接受", "not accepted outside a sandbox"),
        Words::new("沙箱不得承载真实业务", "a sandbox must not do real work"),
    ),
    weekly(
        "security.two_person",
        Group::Security,
        Words::new("变更须双人", "changes take two people"),
        state("已启用", "on"),
        Words::new("启用 administration.two_person", "set administration.two_person"),
    ),
];

/// The check of a code.
pub(crate) fn kind(code: &str) -> Option<&'static CheckKind> {
    CHECKS.iter().find(|kind| kind.code == code)
}

impl Limit {
    /// How a figure comes out; of a check that is judged by words the figure says nothing.
    pub(crate) fn judge(self, figure: f64) -> Grade {
        let by = |is_over: &dyn Fn(f64) -> bool, attention: f64, abnormal: f64| {
            if is_over(abnormal) {
                Grade::Abnormal
            } else if is_over(attention) {
                Grade::Attention
            } else {
                Grade::Ok
            }
        };
        match self {
            _ if !figure.is_finite() => Grade::Unmeasured,
            Self::AtLeast(attention, abnormal, _) => by(&|limit| figure >= limit, attention, abnormal),
            Self::AtMost(attention, abnormal, _) => by(&|limit| figure <= limit, attention, abnormal),
            Self::State(_) => Grade::Ok,
        }
    }

    /// A figure with its unit.
    pub(crate) fn said(self, figure: f64) -> String {
        match self {
            Self::AtLeast(.., unit) => format!("{figure:.1}{unit}"),
            Self::AtMost(.., unit) => format!("{figure:.0}{unit}"),
            Self::State(_) => format!("{figure}"),
        }
    }

    /// In words: Chinese, English.
    pub(crate) fn words(self) -> [String; 2] {
        match self {
            Self::AtLeast(attention, abnormal, unit) => [
                format!("≥ {attention}{unit} 需关注，≥ {abnormal}{unit} 异常"),
                format!("attention from {attention}{unit} on, abnormal from {abnormal}{unit} on"),
            ],
            Self::AtMost(attention, abnormal, unit) => [
                format!("≤ {attention}{unit} 需关注，≤ {abnormal}{unit} 异常"),
                format!("attention at {attention}{unit} and below, abnormal at {abnormal}{unit} and below"),
            ],
            Self::State(words) => [words.zh.to_owned(), words.en.to_owned()],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn seventy_percent_is_where_people_begin_to_look() {
        let of = |code: &str, figure: f64| kind(code).unwrap().limit.judge(figure);
        for code in ["host.cpu", "host.memory", "host.disk", "storage.space"] {
            assert_eq!(of(code, 69.9), Grade::Ok);
            assert_eq!(of(code, 70.0), Grade::Attention);
            assert_eq!(of(code, 89.9), Grade::Attention);
            assert_eq!(of(code, 90.0), Grade::Abnormal);
            assert_eq!(of(code, f64::NAN), Grade::Unmeasured);
            let advice = kind(code).unwrap().advice;
            assert!(advice.zh.contains("项目经理") && advice.zh.contains("技术负责人"), "{code}");
        }
    }

    #[test]
    fn what_ends_is_told_of_thirty_days_before() {
        let limit = kind("certificate.key").unwrap().limit;
        let found = [31.0, 30.0, 8.0, 7.0, 0.0, -3.0].map(|days| limit.judge(days));
        assert_eq!(
            found,
            [
                Grade::Ok,
                Grade::Attention,
                Grade::Attention,
                Grade::Abnormal,
                Grade::Abnormal,
                Grade::Abnormal
            ]
        );
    }

    #[test]
    fn codes_are_told_apart_and_each_group_has_some() {
        let codes: BTreeSet<_> = CHECKS.iter().map(|kind| kind.code).collect();
        assert_eq!(codes.len(), CHECKS.len());
        assert!(CHECKS.is_sorted_by_key(|kind| kind.group));
        let groups: BTreeSet<_> = CHECKS.iter().map(|kind| kind.group).collect();
        assert_eq!(groups, Group::ALL.into());
    }
}
