--- explain, review, refactor, fix, document: asks the daemon and shows what it answers.
---
--- Words stream into a float. An edit is shown as a diff first, and only applied to the text it was
--- made for.

local lsp = require('fimd.lsp')

local api = vim.api

---@class fimd.Running
---@field name string
---@field id integer of the request
---@field client vim.lsp.Client
---@field float fimd.Float?

local M = {}

---@type table<string, { title: string, edit: boolean, ask: string? }>
M.known = {
  explain = { title = 'Explain', edit = false },
  review = { title = 'Review', edit = false },
  refactor = { title = 'Refactor', edit = true, ask = 'Refactor: ' },
  fix = { title = 'Fix', edit = true },
  document = { title = 'Document', edit = true },
}

local running = {} ---@type table<string, fimd.Running> by token
local serial = 0

---@param message string
---@param level? integer
local function say(message, level)
  vim.notify('fimd: ' .. message, level or vim.log.levels.ERROR)
end

--- A partial result: `$/progress` with one of our tokens.
---@param params table
---@return boolean ours
function M.progress(params)
  local token = params.token
  if type(token) ~= 'string' or not token:find('^fimd%-command%-') then
    return false
  end
  local run = running[token]
  local value = type(params.value) == 'table' and params.value or {}
  if run and run.float and value.kind == 'start' then
    run.float:clear()
  elseif run and run.float and value.kind == 'text' and type(value.text) == 'string' then
    run.float:append(value.text)
  end
  return true
end

--- Cancels what runs.
---@return integer how many
function M.cancel()
  local count = 0
  for token, run in pairs(running) do
    running[token] = nil
    lsp.cancel(run.client, run.id)
    count = count + 1
  end
  return count
end

---@param buf integer
---@param tick integer
---@return string? why an edit made for that state cannot be applied
local function refusal(buf, tick)
  if not api.nvim_buf_is_loaded(buf) then
    return 'the buffer is gone'
  elseif api.nvim_buf_get_changedtick(buf) ~= tick then
    return 'the text changed in between; run the command again'
  elseif not vim.bo[buf].modifiable then
    return 'the buffer cannot be changed'
  end
end

--- The text as it is and as it would be, each ending in a line break.
---@param buf integer
---@param edit table lsp.TextEdit
---@param encoding string
---@return string before
---@return string after
local function both(buf, edit, encoding)
  local lines = api.nvim_buf_get_lines(buf, 0, -1, false)
  local scratch = api.nvim_create_buf(false, true)
  api.nvim_buf_set_lines(scratch, 0, -1, false, lines)
  vim.lsp.util.apply_text_edits({ vim.deepcopy(edit) }, scratch, encoding)
  local changed = api.nvim_buf_get_lines(scratch, 0, -1, false)
  api.nvim_buf_delete(scratch, { force = true })
  return table.concat(lines, '\n') .. '\n', table.concat(changed, '\n') .. '\n'
end

--- Shows an edit and applies it, as one undo step, if the user says so.
---@param buf integer
---@param tick integer
---@param result table the command's
---@param encoding string
local function preview(buf, tick, result, encoding)
  local why = refusal(buf, tick)
  if why then
    return say(why)
  end
  local edit = { range = result.range, newText = result.newText }
  local before, after = both(buf, edit, encoding)
  local diff = vim.text and vim.text.diff or vim.diff
  local text = diff(before, after, { ctxlen = 3 })
  if text == '' then
    return say('nothing would change', vim.log.levels.INFO)
  end
  local float = require('fimd.float').open({
    title = result.title,
    footer = 'a accept   q reject',
    filetype = 'diff',
    text = text,
  })
  local function accept()
    float:close()
    why = refusal(buf, tick)
    if why then
      return say(why)
    end
    vim.lsp.util.apply_text_edits({ edit }, buf, encoding)
  end
  for _, key in ipairs({ 'a', 'y', '<CR>' }) do
    float:map(key, accept, 'Apply the edit')
  end
  for _, key in ipairs({ 'n', 'r' }) do
    float:map(key, function()
      float:close()
    end, 'Drop the edit')
  end
end

--- The diagnostics of a buffer as LSP has them. Lines are enough: the daemon quotes them whole.
---@param buf integer
---@return table[]
local function diagnostics(buf)
  local list = {}
  for _, found in ipairs(vim.diagnostic.get(buf)) do
    local position = { line = found.lnum, character = 0 }
    list[#list + 1] = {
      range = { start = position, ['end'] = position },
      severity = found.severity,
      message = found.message,
      source = found.source,
    }
  end
  return vim.list_slice(list, 1, 100)
end

--- Sends a command.
---@param name string
---@param buf integer
---@param argument table arguments[1] of the command
local function send(name, buf, argument)
  local client = require('fimd.client').get()
  if not client or not client.attached_buffers[buf] then
    return say('not attached to this buffer (:Fimd status)')
  end
  local command = M.known[name]
  serial = serial + 1
  local token = 'fimd-command-' .. serial
  local tick = api.nvim_buf_get_changedtick(buf)
  argument.partialResultToken = token
  local run = { name = name, client = client, id = -1 } ---@type fimd.Running
  local params = { command = 'fimd.' .. name, arguments = { argument } }
  local id = lsp.request(client, 'workspace/executeCommand', params, function(err, result)
    local mine = running[token] ~= nil
    running[token] = nil
    if not mine then
      return -- cancelled
    end
    if err then
      if run.float then
        run.float:close()
      end
      return say(err.message or vim.inspect(err))
    end
    if type(result) ~= 'table' then
      return say('the daemon answered nothing')
    end
    if result.kind == 'edit' then
      if run.float then
        run.float:close()
      end
      return preview(buf, tick, result, client.offset_encoding)
    end
    if run.float then
      local text = result.text or ''
      run.float:set(result.truncated and text .. '\n\n*(cut off here)*' or text)
      run.float:finish()
    end
  end, buf)
  if not id then
    return say('the daemon cannot be reached')
  end
  run.id = id
  running[token] = run
  if command.edit then
    api.nvim_echo({ { ('fimd: %s … (:Fimd cancel)'):format(command.title) } }, false, {})
    return
  end
  run.float = require('fimd.float').open({
    title = command.title,
    footer = 'q close',
    filetype = 'markdown',
    text = '…',
    busy = true,
    on_close = function()
      if running[token] then
        running[token] = nil
        lsp.cancel(client, id)
      end
    end,
  })
end

--- Asks for what the command needs to be told, then sends it.
---@param name string
---@param buf integer
---@param argument table
local function complete_and_send(name, buf, argument)
  local prompt = M.known[name].ask
  if not prompt or (argument.instruction and argument.instruction ~= '') then
    return send(name, buf, argument)
  end
  vim.ui.input({ prompt = prompt }, function(text)
    if text and vim.trim(text) ~= '' then
      argument.instruction = text
      send(name, buf, argument)
    end
  end)
end

--- `:[range]Fimd NAME [INSTRUCTION]` for the current buffer.
---@param name string
---@param options { lines: integer[]?, instruction: string? } lines: first and last, from 1
function M.run(name, options)
  local buf = api.nvim_get_current_buf()
  local client = require('fimd.client').get()
  if not client or not client.attached_buffers[buf] then
    return say('not attached to this buffer (:Fimd status)')
  end
  local encoding = client.offset_encoding
  local range
  if options.lines then
    range = {
      start = { line = options.lines[1] - 1, character = 0 },
      ['end'] = { line = options.lines[2], character = 0 },
    }
  else
    local position = vim.lsp.util.make_position_params(0, encoding).position
    range = { start = position, ['end'] = position }
  end
  complete_and_send(name, buf, {
    textDocument = { uri = vim.uri_from_bufnr(buf) },
    range = range,
    instruction = options.instruction,
    diagnostics = name == 'fix' and diagnostics(buf) or nil,
  })
end

--- Lets code actions of the daemon run here, where their results are shown.
function M.register()
  for name in pairs(M.known) do
    vim.lsp.commands['fimd.' .. name] = function(command, context)
      local argument = vim.deepcopy((command.arguments or {})[1] or {})
      complete_and_send(name, context.bufnr, argument)
    end
  end
end

return M
