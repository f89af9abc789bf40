// All words of the sandbox's pages, Chinese and English. A test compares the two lists.

const ZH = {
  language: 'English', sandbox: '沙箱', none: '无', comma: '、', named: '{0}（{1}）',
  demoTitle: '网上登记平台（演示）', demoLead: '这是一个虚构的业务系统。它通过网关让企业用电子营业执照扫码登录、授权读取信息、签章。',
  what_login: '扫码登录', what_authorise: '授权读取执照信息', what_stamp: '手机签章',
  hint_login: '用执照表明身份，进入系统', hint_authorise: '由持照人同意，读取照面上的几项信息', hint_stamp: '用执照密钥在文件上签章',
  ttl: '二维码有效期', seconds: '{0} 秒', minutes: '{0} 分钟', document: '待签文件：年度报告书（演示）',
  scanThis: '请用手机扫描二维码', noPhone: '手边没有手机？', openPhone: '打开手机模拟器', payload: '二维码内容', another: '重新开始',
  state_created: '等待扫码', state_scanned: '已扫码，请在手机上确认', state_confirmed: '已确认，正在取结果…', state_rejected: '持照人已拒绝',
  state_expired: '二维码已过期', state_replaced: '二维码已被替换', state_cancelled: '已取消', state_consumed: '结果只能取一次，已经取走', state_not_confirmed: '尚未确认',
  left: '剩余 {0} 秒', lost: '与网关的连接中断，正在重连…', closed: '会话已不可用，请重新开始。',
  welcome: '欢迎，{0}', authorised: '{0} 已同意', stamped: '文件已签章', verified: '结果已验证', notVerified: '结果未通过验证，不予登录',
  check_result_signature: '网关对结果的签名', check_consent_signature: '执照密钥对同意书的签名', check_consent_session: '同意书是给本系统、本次会话的',
  check_document: '签章文件验证（{0}）', passed: '通过', failed: '未通过', verdict_valid: '有效', verdict_invalid: '无效', verdict_indeterminate: '无法判定', verdict_unsigned: '未签名',
  enterprise: '企业', uscc: '统一社会信用代码', status: '登记状态', role: '身份', operator: '经办人', license: '执照序列号', confirmedAt: '确认时间',
  assurance: '保证等级', audit: '审计编号', consent: '同意书（执照密钥所签原文）', resultJson: '结果（网关所签）', stamping: '正在签章…',
  stampId: '签章编号', checkCode: '验证码', download: '下载签章文件', checkPage: '打开核验页', signOut: '退出', face: '持照人同意读取',
  phoneTitle: '电子营业执照', phoneLead: '手机模拟器，代替电子营业执照小程序', scan: '扫一扫', scanHint: '把二维码内容粘贴到这里', recognise: '识别',
  myLicense: '我的执照', change: '切换执照', holder: '法定代表人', until: '有效至', loading: '正在读取…',
  kind_good: '有效', kind_expired: '已过期', kind_revoked: '已吊销', kind_tampered: '被篡改', 'kind_wrong-uscc': '代码有误',
  asks_login: '请求登录', asks_login_sign: '请求登录并签署', asks_sign: '请求签署', asks_authorise: '请求读取执照信息',
  item: '业务事项', bizNo: '业务编号', text: '签署内容', digest: '内容摘要（SM3）', willStamp: '签章编号', fields: '读取信息', app: '请求方',
  actAs: '以何身份确认', role_legal_representative: '法定代表人', role_administrator: '证照管理员', role_agent: '办事人',
  name: '姓名（可不填）', agentTerm: '授权：仅限本事项，30 天内有效', confirm: '确认', deny: '拒绝', retry: '重试', home: '返回',
  confirmed: '已确认', confirmedHint: '请回到电脑上继续。', denied: '已拒绝', deniedHint: '请求方不会得到任何信息。', over: '无法继续', consentVersion: '网关要求的同意书版本，这部手机不认识。', digestDiffers: '要签名的内容与显示的摘要不符，手机不予签名。',
  beware: '请核对请求方和事项。确认后，执照密钥将对以上全部内容签名。',
  field_name: '名称', field_legal_representative: '法定代表人', field_registered_capital: '注册资本', field_domicile: '住所',
  field_registration_authority: '登记机关', field_established: '成立日期', field_business_scope: '经营范围', field_uscc: '统一社会信用代码',
  field_registration_number: '注册号', field_title: '证照名称', field_term_from: '营业期限自', field_term_to: '营业期限至',
  field_service_scope: '业务范围', field_registered: '登记日期', field_publicity_url: '公示系统网址', field_supervising_authority: '业务主管单位',
  field_format_version: '格式版本', field_foreign_name: '外国（地区）企业名称', field_foreign_domicile: '外国（地区）企业住所', field_entity_version: '主体版本号',
  field_holder: '持照人', field_template: '模板', field_subject_type: '主体类型', field_area_code: '行政区划代码',
  e_unreachable: '网关没有响应，请重试。', e_api_key_not_admitted: '演示系统只接受本机的访问。', e_test_key_not_admitted: '手机模拟器只接受本机的访问。', e_session_expired: '二维码已过期，请在电脑上刷新。', e_session_replaced: '二维码已被替换，请扫描新的。',
  e_session_cancelled: '请求方已取消。', e_session_rejected: '本次请求已被拒绝。', e_session_consumed: '本次请求已经办结。', e_session_taken: '另一部手机已经扫描了这个二维码。',
  e_session_confirmed: '本次请求已经确认。', e_unknown_session: '没有这个会话。', e_qr_malformed: '这不是本网关的二维码。', e_qr_signature_invalid: '二维码的签名不是本网关的，可能是伪造的。',
  e_license_expired: '这张执照已过期，不能使用。', e_license_revoked: '这张执照已被吊销，不能使用。', e_license_chain_invalid: '这张执照未通过验证：不是登记机关签发的，或者被改动过。',
  e_status_not_permitted: '企业的登记状态不允许办理。', e_status_unavailable: '暂时查不到登记状态，请稍后重试。', e_role_not_permitted: '这个身份不能办理该事项。',
  e_item_not_permitted: '企业的登记状态不允许办理这个事项。', e_consent_enterprise: '同意书与执照不是同一家企业的。', e_license_unknown: '登记库中没有这张执照。', e_license_not_current: '这不是该企业的现行执照。',
  enterprisesTitle: '测试企业', enterprisesLead: '在这里生成测试企业：它有沙箱登记机关签发的电子营业执照，登记库中有它的条目和公示版文件，可立即用于验证、查询、扫码登录和取文件。',
  makeTitle: '新建测试企业', make: '生成', template: '执照模板', enterpriseName: '名称（可不填，须含“测试”）', nameHint: '自动生成', licenseState: '执照证书', flags: '标记', people: '人员', files: '公示版文件',
  noEnterprises: '还没有测试企业。', usePhone: '用手机模拟器打开它的执照', takeAway: '删除', toDemo: '去演示系统扫码登录',
  code_test: '测试代码（ZZJGD + 13 位数字）', code_uscc: '符合 GB 32100 的代码',
  template_A: 'A 内资公司', template_B: 'B 内资非公司企业', template_C: 'C 合伙企业', template_D: 'D 农民专业合作社', template_E: 'E 个人独资企业', template_F: 'F 个体工商户',
  template_G: 'G 分支机构', template_H: 'H 外商投资企业', template_I: 'I 外国企业类',
  status_1: '存续', status_2: '吊销，未注销', status_3: '吊销，已注销', status_4: '注销', status_5: '撤销', status_6: '迁出', status_9: '其他',
  e_enterprise_exists: '已有这个代码的企业。', e_unknown_enterprise: '没有这个测试企业。', e_too_many_enterprises: '测试企业太多了，请先删除一些。', e_sandbox_outdated: '这个沙箱由较早的版本生成，没有签发执照的密钥，请新建沙箱。',
  refused: '被拒绝：{0}（{1}）',
};

const EN = {
  language: '中文', sandbox: 'sandbox', none: 'none', comma: ', ', named: '{0} ({1})',
  demoTitle: 'Online registration (demo)', demoLead: 'A made-up business system. Through the gateway, enterprises sign in to it, let it read data and stamp documents by their electronic business license.',
  what_login: 'Sign in by QR code', what_authorise: 'Let license data be read', what_stamp: 'Stamp by phone',
  hint_login: 'Show who you are by the license', hint_authorise: 'The holder agrees to some fields of the face', hint_stamp: 'The license’s key signs a document',
  ttl: 'QR code is good for', seconds: '{0} s', minutes: '{0} min', document: 'To be signed: annual report (demo)',
  scanThis: 'Scan this code with the phone', noPhone: 'No phone at hand?', openPhone: 'Open the phone simulator', payload: 'What the QR code says', another: 'Start again',
  state_created: 'Waiting for a scan', state_scanned: 'Scanned; confirm on the phone', state_confirmed: 'Confirmed; fetching the result…', state_rejected: 'The holder declined',
  state_expired: 'The QR code has expired', state_replaced: 'The QR code was replaced', state_cancelled: 'Cancelled', state_consumed: 'A result can be fetched once, and was', state_not_confirmed: 'Not confirmed yet',
  left: '{0} s left', lost: 'Connection to the gateway lost; trying again…', closed: 'The session cannot be used any more. Please start again.',
  welcome: 'Welcome, {0}', authorised: '{0} agreed', stamped: 'The document is stamped', verified: 'Result verified', notVerified: 'The result did not verify: nobody is let in',
  check_result_signature: 'The gateway’s signature on the result', check_consent_signature: 'The license key’s signature on the consent', check_consent_session: 'The consent is to this system and this session',
  check_document: 'The stamped document ({0})', passed: 'passed', failed: 'failed', verdict_valid: 'valid', verdict_invalid: 'invalid', verdict_indeterminate: 'indeterminate', verdict_unsigned: 'unsigned',
  enterprise: 'Enterprise', uscc: 'Unified social credit code', status: 'Registration status', role: 'Acting as', operator: 'Person', license: 'License serial number', confirmedAt: 'Confirmed at',
  assurance: 'Assurance', audit: 'Audit entry', consent: 'Consent (as the license’s key signed it)', resultJson: 'Result (as the gateway signed it)', stamping: 'Stamping…',
  stampId: 'Stamp', checkCode: 'Check code', download: 'Download the stamped document', checkPage: 'Open the check page', signOut: 'Sign out', face: 'What the holder let be read',
  phoneTitle: 'Electronic business license', phoneLead: 'Phone simulator, in place of the mini-program', scan: 'Scan', scanHint: 'Paste what the QR code says', recognise: 'Read',
  myLicense: 'My license', change: 'Use another license', holder: 'Legal representative', until: 'Valid until', loading: 'Reading…',
  kind_good: 'good', kind_expired: 'expired', kind_revoked: 'revoked', kind_tampered: 'tampered with', 'kind_wrong-uscc': 'wrong code',
  asks_login: 'asks you to sign in', asks_login_sign: 'asks you to sign in and to sign', asks_sign: 'asks you to sign', asks_authorise: 'asks to read your license',
  item: 'Business item', bizNo: 'Business number', text: 'What is signed', digest: 'Its digest (SM3)', willStamp: 'Stamp', fields: 'Fields to be read', app: 'Who asks',
  actAs: 'You act as', role_legal_representative: 'Legal representative', role_administrator: 'License administrator', role_agent: 'Agent',
  name: 'Your name (optional)', agentTerm: 'Authorisation: this item only, for 30 days', confirm: 'Confirm', deny: 'Decline', retry: 'Try again', home: 'Back',
  confirmed: 'Confirmed', confirmedHint: 'Go on at the computer.', denied: 'Declined', deniedHint: 'Who asked learns nothing.', over: 'This cannot go on', consentVersion: 'The gateway wants a version of the consent that this phone does not know.', digestDiffers: 'What is to be signed is not what the digest says: the phone signs nothing.',
  beware: 'Check who asks, and for what. By confirming, the license’s key signs all that is shown above.',
  field_name: 'Name', field_legal_representative: 'Legal representative', field_registered_capital: 'Registered capital', field_domicile: 'Domicile',
  field_registration_authority: 'Registration authority', field_established: 'Established', field_business_scope: 'Business scope', field_uscc: 'Unified social credit code',
  field_registration_number: 'Registration number', field_title: 'Title of the license', field_term_from: 'Term from', field_term_to: 'Term to',
  field_service_scope: 'Scope of service', field_registered: 'Registered', field_publicity_url: 'Publicity address', field_supervising_authority: 'Supervising authority',
  field_format_version: 'Format version', field_foreign_name: 'Foreign name', field_foreign_domicile: 'Foreign domicile', field_entity_version: 'Version of the entity',
  field_holder: 'Holder of the license', field_template: 'Template', field_subject_type: 'Type of subject', field_area_code: 'Area code',
  e_unreachable: 'The gateway does not answer. Please try again.', e_api_key_not_admitted: 'The demo is for this computer only.', e_test_key_not_admitted: 'The phone simulator is for this computer only.', e_session_expired: 'The QR code has expired. Get a new one at the computer.', e_session_replaced: 'The QR code was replaced. Scan the new one.',
  e_session_cancelled: 'Who asked has cancelled.', e_session_rejected: 'This was declined.', e_session_consumed: 'This is done already.', e_session_taken: 'Another phone has scanned this code.',
  e_session_confirmed: 'This is confirmed already.', e_unknown_session: 'There is no such session.', e_qr_malformed: 'This is no QR code of this gateway.', e_qr_signature_invalid: 'The QR code is not signed by this gateway; it may be forged.',
  e_license_expired: 'The license has expired.', e_license_revoked: 'The license was revoked.', e_license_chain_invalid: 'The license did not verify: no authority issued it, or somebody changed it.',
  e_status_not_permitted: 'The enterprise’s registration status does not permit this.', e_status_unavailable: 'The registration status cannot be had now. Try again later.', e_role_not_permitted: 'This role may not do that.',
  e_item_not_permitted: 'The enterprise’s registration status does not permit this item.', e_consent_enterprise: 'The consent and the license are of two enterprises.', e_license_unknown: 'The register does not know this license.', e_license_not_current: 'This is not the enterprise’s current license.',
  enterprisesTitle: 'Test enterprises', enterprisesLead: 'Test enterprises are made here: each has a license by the sandbox’s own authority, an entry in the library and public editions, and can be verified, looked up, signed in with and have its files fetched at once.',
  makeTitle: 'New test enterprise', make: 'Make', template: 'Template of the license', enterpriseName: 'Name (optional; must say 测试)', nameHint: 'made up', licenseState: 'License certificate', flags: 'Flags', people: 'People', files: 'Public editions',
  noEnterprises: 'There are no test enterprises yet.', usePhone: 'Open its license on the phone simulator', takeAway: 'Take away', toDemo: 'Sign in at the demo',
  code_test: 'Test code (ZZJGD and 13 digits)', code_uscc: 'A code that keeps GB 32100',
  template_A: 'A Domestic company', template_B: 'B Domestic enterprise, no company', template_C: 'C Partnership', template_D: 'D Farmers’ cooperative', template_E: 'E Sole proprietorship', template_F: 'F Household business',
  template_G: 'G Branch', template_H: 'H Foreign-invested enterprise', template_I: 'I Foreign enterprise',
  status_1: 'in force', status_2: 'revoked, not deregistered', status_3: 'revoked and deregistered', status_4: 'deregistered', status_5: 'annulled', status_6: 'moved away', status_9: 'other',
  e_enterprise_exists: 'There is an enterprise of this code.', e_unknown_enterprise: 'There is no such test enterprise.', e_too_many_enterprises: 'There are too many test enterprises: take some away first.', e_sandbox_outdated: 'This sandbox was made by an older build and has no keys to issue licenses by: make a new one.',
  refused: 'Refused: {0} ({1})',
};

export const LISTS = { zh: ZH, en: EN };
let language = localStorage.getItem('sandbox.language') === 'en' ? 'en' : 'zh';

/** The word, with its places filled; a word that is not in the list stands for itself. */
export function w(key, ...values) {
  return (LISTS[language][key] ?? key).replace(/\{(\d)\}/g, (_, at) => values[at] ?? '');
}

export const languageTag = () => (language === 'zh' ? 'zh-CN' : 'en');

/** Chinese for English and English for Chinese. */
export function switchLanguage() {
  language = language === 'zh' ? 'en' : 'zh';
  localStorage.setItem('sandbox.language', language);
}

/** A moment, in the computer's time zone. */
export const moment = (text) => new Date(text).toLocaleString(languageTag(), { dateStyle: 'medium', timeStyle: 'medium', hour12: false });

/** A day. */
export const day = (text) => new Date(text).toLocaleDateString(languageTag(), { dateStyle: 'medium' });

/** Why something was refused, for people. */
export function why(refusal) {
  const word = `e_${refusal.code}`;
  return word in LISTS[language] ? w(word) : w('refused', refusal.message ?? '', refusal.code ?? '');
}
