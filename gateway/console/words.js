// All words of the console, Chinese and English. A test compares the two lists.

const ZH = {
  title: '电子营业执照网关 · 维护控制台', signIn: '登录', account: '账号', password: '密码', code: '动态验证码（6 位）',
  recovery: '使用恢复码', recoveryCode: '恢复码', next: '下一步', remember: '在此电脑上记住账号（不保存密码）',
  saved: '已保存的账号', signedIn: '已登录', forget: '移除', another: '登录其他账号', switchTo: '切换到 {0} ({1})',
  refused: '账号、密码或验证码不正确，或该账号不能登录。', paused: '尝试次数过多，请 {0} 后再试。', later: '稍后',
  ended: '会话已结束，请重新登录。', idleEnded: '因长时间未操作，已自动退出。', idleSoon: '即将自动退出',
  idleText: '{0} 秒内没有操作将自动退出。', stay: '继续使用', signOut: '退出', signOutAll: '退出全部账号', language: 'English',
  main: '主导航', skip: '跳到内容', fleet: '设备总览', approvals: '审批', apps: '应用', audit: '审计', licenses: '执照查询',
  me: '我的账号', loading: '正在读取…', none: '无', no: '否', unreachable: '网关没有响应，正在重试。', failed: '操作失败：{0}', done: '已完成，审计编号 {0}',
  asked: '已提交审批 {0}，等待另一人批准。', request: '请求号 {0}',
  reason: '原因（将写入审计）', reasonNeeded: '请填写原因，1 至 500 字。', cancel: '取消', confirm: '确认', close: '关闭',
  group: '设备组 {0}', devicesReady: '{0} / {1} 台正常', rate: '速率', latency: '时延', load: '在途', queued: '排队',
  failures: '失败', selfTest: '自检', passed: '通过', notPassed: '未通过', never: '未做过', lastError: '最近错误', slow: '偏慢',
  perSecond: '{0} 次/秒', allReady: '全部 {0} 台设备正常', troubled: '{0} 台设备需要关注',
  lineRate: '{0} 最近一分钟的签名速率，现为每秒 {1} 次',
  state_starting: '启动中', state_ready: '正常', state_degraded: '降级', state_draining: '排空中', state_maintenance: '维护中',
  state_down: '故障', state_quarantined: '已隔离',
  back: '返回总览', serial: '序列号', model: '型号', manufacturer: '厂商', firmware: '固件', module: '接口库', lanes: '会话数',
  worker: '工作进程', starts: '启动次数', crashes: '异常退出', keys: '密钥', p50: '中位', p90: '90%', p99: '99%',
  max: '最大', count: '次数', minute: '最近 1 分钟', hour: '最近 1 小时', day: '最近 24 小时', errors: '错误',
  latencyOver: '24 小时时延分布', latencyLabel: '24 小时内各时段签名时延：中位、90%、99% 与最大值', noHistory: '尚无签名记录。',
  changes: '状态变化', ago: '{0}前', act_drain: '排空', act_maintain: '转维护', act_resume: '恢复服务', act_release: '解除隔离', act_restart: '重启工作进程',
  'act_self-test': '自检', actOn: '{0}：{1}', fault: '故障模拟（沙箱）', faultOn: '无响应', faultSlow: '每次操作加慢 500 毫秒',
  faultOff: '取消故障', pending: '待审批', decided: '已处理', approve: '批准', reject: '驳回', withdraw: '撤回', askedBy: '申请人', askedAt: '申请时间',
  expires: '有效期至', before: '原值', after: '新值', field: '字段', noPending: '没有待审批的变更。',
  subject: '对象', action: '操作', state: '状态', outcome: '结果', own: '本人提交，须由他人批准',
  app: '应用', name: '名称', scopes: '权限', credentials: '凭据', enable: '启用', disable: '停用', lock: '锁定', inForce: '有效',
  appState_enabled: '启用', appState_disabled: '停用', appState_locked: '锁定', freeze: '处置攻击（冻结）',
  freezeText: '锁定应用、吊销其密钥、结束会话并固定证据。', revoke: '吊销', kind: '类型', until: '有效至',
  actor: '操作者', time: '时间', filter: '查询', index: '编号', proof: '存在性证明', proofOf: '第 {0} 条的存在性证明',
  proofText: '该条目包含在 {0} 条记录的日志中，日志根由密钥 {1} 于 {2} 签名。下载后可用 license-gateway audit verify 或任何 RFC 9162 工具离线验证。',
  download: '下载', root: '日志根', path: '证明路径', entry: '条目', newer: '较新', older: '较早', noEntries: '没有符合条件的记录。',
  notYet: '该条目尚无签名检查点，请几秒后再试。',
  uscc: '统一社会信用代码', entity: '名称（至少两个字）', find: '查找', status: '登记状态', asOf: '截至', flags: '警示',
  representative: '法定代表人', authority: '登记机关', established: '成立日期', noLicenses: '没有找到。',
  roles: '角色', sessions: '会话', began: '开始', used: '最近使用', address: '来源', end: '结束', thisOne: '本会话',
  endOthers: '结束其他会话', changePassword: '修改密码', oldPassword: '原密码', newPassword: '新密码', repeat: '再次输入新密码',
  differ: '两次输入的新密码不一致。', passwordLeft: '密码还有 {0} 天到期。', duePassword: '请先修改密码，然后才能继续。',
  dueFactor: '请先绑定动态验证码，然后才能继续。', enrol: '绑定验证器', enrolText: '在验证器应用中录入下面的密钥，然后输入它显示的验证码。',
  secret: '密钥', confirmCode: '验证码', recoveryShown: '请抄录恢复码，它们只显示这一次：', changed: '已修改。',
  role_operator: '运维人员', 'role_window-clerk': '窗口人员', 'role_service-seat': '服务坐席', role_auditor: '审计员（只读）',
  'role_system-admin': '系统管理员', 'role_security-admin': '安全管理员', 'role_audit-admin': '审计管理员',
  seconds: '{0} 秒', minutes: '{0} 分钟', hours: '{0} 小时', days: '{0} 天',
};

const EN = {
  title: 'License gateway · maintenance console', signIn: 'Sign in', account: 'Account', password: 'Password',
  code: 'One-time code (6 digits)', recovery: 'Use a recovery code', recoveryCode: 'Recovery code', next: 'Next',
  remember: 'Remember the account on this computer (not the password)', saved: 'Saved accounts', signedIn: 'signed in',
  forget: 'Remove', another: 'Sign in with another account', switchTo: 'Switch to {0} ({1})',
  refused: 'Account, password or code is wrong, or the account may not sign in.', paused: 'Too many tries; try again {0}.',
  later: 'later', ended: 'The session has ended. Please sign in again.', idleEnded: 'Signed out after a long time without use.',
  idleSoon: 'About to sign out', idleText: 'Without use you will be signed out in {0} seconds.', stay: 'Stay signed in',
  signOut: 'Sign out', signOutAll: 'Sign out all accounts', language: '中文', main: 'Main', skip: 'Skip to content',
  fleet: 'Devices', approvals: 'Approvals', apps: 'Apps', audit: 'Audit', licenses: 'Licenses', me: 'My account',
  loading: 'Reading…', none: 'none', no: 'no', unreachable: 'The gateway does not answer; trying again.', failed: 'It failed: {0}',
  done: 'Done; audit entry {0}', asked: 'Approval {0} is asked for; somebody else has to approve it.', request: 'request {0}',
  reason: 'Reason (goes on record)', reasonNeeded: 'Give a reason of 1 to 500 characters.', cancel: 'Cancel',
  confirm: 'Confirm', close: 'Close', group: 'Group {0}', devicesReady: '{0} of {1} ready', rate: 'Signatures',
  latency: 'Latency', load: 'In flight', queued: 'Waiting', failures: 'Failed', selfTest: 'Self-test', passed: 'passed',
  notPassed: 'failed', never: 'never', lastError: 'Last error', slow: 'slow', perSecond: '{0} /s',
  allReady: 'All {0} devices are ready', troubled: '{0} devices need attention',
  lineRate: 'Signatures of {0} in the last minute, now {1} a second',
  state_starting: 'starting', state_ready: 'ready', state_degraded: 'degraded', state_draining: 'draining',
  state_maintenance: 'maintenance', state_down: 'down', state_quarantined: 'quarantined', back: 'All devices',
  serial: 'Serial number', model: 'Model', manufacturer: 'Manufacturer', firmware: 'Firmware', module: 'Library',
  lanes: 'Sessions', worker: 'Worker process', starts: 'Starts', crashes: 'Crashes', keys: 'Keys', p50: 'median', p90: '90 %',
  p99: '99 %', max: 'slowest', count: 'Count', minute: 'Last minute', hour: 'Last hour',
  day: 'Last 24 hours', errors: 'Errors', latencyOver: 'Latency over 24 hours',
  latencyLabel: 'Latency of signatures over 24 hours: median, 90th and 99th percentile, slowest', noHistory: 'No signatures yet.',
  changes: 'Changes of state', ago: '{0} ago', act_drain: 'Drain', act_maintain: 'Take into maintenance',
  act_resume: 'Resume', act_release: 'Release from quarantine',
  act_restart: 'Restart worker', 'act_self-test': 'Self-test', actOn: '{0}: {1}',
  fault: 'Fault control (sandbox)', faultOn: 'Unreachable', faultSlow: '500 ms slower', faultOff: 'No fault',
  pending: 'Pending', decided: 'Decided', approve: 'Approve', reject: 'Reject',
  withdraw: 'Withdraw', askedBy: 'Asked by', askedAt: 'Asked at', expires: 'Expires', before: 'Before', after: 'After',
  field: 'Field', noPending: 'Nothing waits for approval.', subject: 'Subject',
  action: 'Action', state: 'State', outcome: 'Outcome', own: 'Your own: somebody else has to approve it',
  app: 'App', name: 'Name', scopes: 'Scopes', credentials: 'Credentials', enable: 'Enable', disable: 'Disable',
  lock: 'Lock', inForce: 'in force', appState_enabled: 'enabled', appState_disabled: 'disabled', appState_locked: 'locked',
  freeze: 'Freeze (attack)', freezeText: 'Locks the app, revokes its keys, ends its sessions and freezes the evidence.',
  revoke: 'Revoke', kind: 'Kind', until: 'Until', actor: 'Actor', time: 'Time', filter: 'Search', index: 'Entry',
  proof: 'Inclusion proof', proofOf: 'Inclusion proof of entry {0}',
  proofText: 'The entry is in the log of {0} entries, whose root key {1} signed at {2}. Once downloaded it can be verified offline by license-gateway audit verify, or by any tool for RFC 9162.',
  download: 'Download', root: 'Root', path: 'Path', entry: 'Entry', newer: 'Newer', older: 'Older',
  noEntries: 'No entry is like that.', notYet: 'There is no signed checkpoint over the entry yet; try again in a few seconds.',
  uscc: 'Unified social credit code', entity: 'Name (two characters at least)', find: 'Find', status: 'Status',
  asOf: 'As of', flags: 'Flags', representative: 'Legal representative', authority: 'Registration authority',
  established: 'Established', noLicenses: 'None found.', roles: 'Roles', sessions: 'Sessions', began: 'Began',
  used: 'Last used', address: 'From', end: 'End', thisOne: 'this one', endOthers: 'End the others',
  changePassword: 'Change password', oldPassword: 'Present password', newPassword: 'New password',
  repeat: 'New password again', differ: 'The two new passwords differ.', passwordLeft: 'The password holds for {0} more days.',
  duePassword: 'Choose another password first.', dueFactor: 'Enrol an authenticator first.', enrol: 'Enrol an authenticator',
  enrolText: 'Enter this key in the authenticator, then type the code that it shows.', secret: 'Key', confirmCode: 'Code',
  recoveryShown: 'Write the recovery codes down; they are shown this once:', changed: 'Changed.',
  role_operator: 'operator', 'role_window-clerk': 'window clerk', 'role_service-seat': 'service seat',
  role_auditor: 'auditor (reads only)', 'role_system-admin': 'system administrator',
  'role_security-admin': 'security administrator', 'role_audit-admin': 'audit administrator',
  seconds: '{0} s', minutes: '{0} min', hours: '{0} h', days: '{0} d',
};

export const LISTS = { zh: ZH, en: EN };
let language = localStorage.getItem('console.language') === 'en' ? 'en' : 'zh';

/** The word, with its places filled; a word that is not in the list stands for itself. */
export function w(key, ...values) {
  const word = LISTS[language][key] ?? key;
  return word.replace(/\{(\d)\}/g, (_, at) => values[at] ?? '');
}

export const languageTag = () => (language === 'zh' ? 'zh-CN' : 'en');

/** Chinese for English and English for Chinese. */
export function switchLanguage() {
  language = language === 'zh' ? 'en' : 'zh';
  localStorage.setItem('console.language', language);
}

/** A moment, in the computer's time zone. */
export const moment = (text) => (text
  ? new Date(text).toLocaleString(languageTag(), { dateStyle: 'medium', timeStyle: 'medium', hour12: false }) : '—');

/** Hours and minutes. */
export const clock = (milliseconds) =>
  new Date(milliseconds).toLocaleTimeString(languageTag(), { hour: '2-digit', minute: '2-digit', hour12: false });

/** How long, in the largest whole unit. */
export function span(seconds) {
  if (seconds < 120) return w('seconds', Math.round(seconds));
  if (seconds < 7200) return w('minutes', Math.round(seconds / 60));
  if (seconds < 172800) return w('hours', Math.round(seconds / 3600));
  return w('days', Math.round(seconds / 86400));
}

/** Microseconds as people say them. */
export const duration = (us) => (us >= 1e6 ? `${(us / 1e6).toFixed(1)} s` : us >= 1000 ? `${(us / 1000).toFixed(us < 1e4 ? 1 : 0)} ms` : `${us} µs`);
