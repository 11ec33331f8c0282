--- Ghost text of each buffer: asks for suggestions, keeps the shown one in step with the typing,
--- and puts it into the buffer when it is accepted.
---
--- Rules that keep it calm: what is shown stays while the typing agrees with it; another text
--- replaces it only if it extends it or was asked for; a reply that comes late is used if the
--- typing agrees with it, and dropped otherwise.

local config = require('fimd.config')
local lsp = require('fimd.lsp')
local suggestion = require('fimd.suggestion')
local text = require('fimd.text')
local view = require('fimd.view')

local api = vim.api

---@class fimd.Request
---@field token string Of its partial results.
---@field lsp_id integer?
---@field row integer 0-based cursor row at the time.
---@field col integer
---@field line string The cursor line.
---@field invoked boolean
---@field step integer Candidates to move on by, once they are there.
---@field answered boolean?
---@field done boolean Answered with a whole suggestion (or none).

---@class fimd.Buffer
---@field client_id integer
---@field request fimd.Request? The newest one.
---@field pending table<integer, fimd.Request> By LSP id.
---@field candidates fimd.Suggestion[]
---@field index integer
---@field place fimd.Place? Where the candidate is shown; nil: nothing is.
---@field timer uv.uv_timer_t?
---@field seen string? State of buffer and cursor that was last dealt with.
---@field missed boolean? Neovim did not tell the server of the last change.

local M = {}

---@type table<integer, fimd.Buffer>
local buffers = {}

local request_count = 0
---@type table<string, { buf: integer, request: fimd.Request }>
local streams = {} -- by partial result token

---@param buf? integer
---@return integer
local function resolve(buf)
  return (not buf or buf == 0) and api.nvim_get_current_buf() or buf
end

local function inserting()
  return api.nvim_get_mode().mode:sub(1, 1) == 'i'
end

---@return integer row, integer col
local function cursor()
  local position = api.nvim_win_get_cursor(0)
  return position[1] - 1, position[2]
end

---@param state fimd.Buffer
---@return fimd.Suggestion?
local function current(state)
  return state.candidates[state.index]
end

---@param buf integer
---@param state fimd.Buffer
local function hide(buf, state)
  if state.place then
    state.place = nil
    view.clear(buf)
  end
end

---@param buf integer
---@param state fimd.Buffer
local function forget(buf, state)
  state.candidates = {}
  state.index = 1
  hide(buf, state)
end

---@param state fimd.Buffer
local function stop_timer(state)
  if state.timer then
    state.timer:stop()
  end
end

---@param state fimd.Buffer
local function cancel(state)
  stop_timer(state)
  local client = vim.lsp.get_client_by_id(state.client_id)
  for lsp_id, request in pairs(state.pending) do
    streams[request.token] = nil -- Neovim does not pass on the reply to a cancelled request
    if client then
      lsp.cancel(client, lsp_id)
    end
  end
  state.pending = {}
end

--- Draws the current candidate where it belongs now, or hides it if it belongs nowhere.
---@param buf integer
---@param state fimd.Buffer
---@param force? boolean Draw even if it is drawn already.
local function show(buf, state, force)
  local now = current(state)
  local row, col = cursor()
  local place = now and suggestion.locate(now, buf, row, col)
  if not now or not place then
    forget(buf, state)
    return
  end
  local old = state.place
  local same = old
    and old.row == place.row
    and old.col == place.col
    and old.remaining == place.remaining
    and old.tail == place.tail
  state.place = place
  if not same or force then
    local count = #state.candidates > 1 and ('(%d/%d)'):format(state.index, #state.candidates)
    view.draw(buf, place, count or nil)
  end
  if not now.shown then
    now.shown = true
    lsp.notify(state.client_id, 'textDocument/didShowCompletion', { item = now.item })
  end
end

---@param buf integer
---@param state fimd.Buffer
---@param request fimd.Request
---@param items table[]
local function offer(buf, state, request, items)
  local client = vim.lsp.get_client_by_id(state.client_id)
  if not client or not inserting() or api.nvim_get_current_buf() ~= buf then
    return
  end
  local row, col = cursor()
  local fitting = {}
  for _, item in ipairs(items) do
    local new = suggestion.new(item, request, client.offset_encoding)
    if new and suggestion.locate(new, buf, row, col) then
      fitting[#fitting + 1] = new
    end
  end
  local now = state.place and current(state)
  if #fitting == 0 then
    -- What is shown and complete still agrees with the typing; an unfinished one was given up.
    if now and request == state.request and not now.request.done then
      forget(buf, state)
    end
    return
  end
  if now and now.request ~= request and not request.invoked and now.request.done then
    local remaining = suggestion.locate(fitting[1], buf, row, col).remaining
    if not vim.startswith(remaining, state.place.remaining) then
      return
    end
  end
  for _, new in ipairs(fitting) do
    new.shown = now and now.text == new.text and now.request == request and now.shown or false
  end
  state.candidates = fitting
  state.index = 1 + request.step % #fitting
  show(buf, state, #fitting > 1)
end

--- Notices changes that Neovim does not pass on: 0.12 never again follows a buffer that changed
--- while it had no LSP client, for instance because the client was being restarted.
---@param buf integer
---@param state fimd.Buffer
local function watch(buf, state)
  local versions = vim.lsp.util.buf_versions
  if not versions or vim.fn.has('nvim-0.13') == 1 then
    return
  end
  api.nvim_buf_attach(buf, false, {
    on_lines = function(_, _, tick)
      if buffers[buf] ~= state then
        return true
      end
      state.missed = versions[buf] ~= tick -- Neovim's callback came first, if there is one
    end,
    on_reload = function() end,
  })
end

--- Sends the whole text where Neovim does not send the changes.
---@param buf integer
---@param state fimd.Buffer
local function catch_up(buf, state)
  if not state.missed then
    return
  end
  state.missed = nil
  local ending = vim.bo[buf].fileformat == 'dos' and '\r\n' or '\n'
  local lines = api.nvim_buf_get_lines(buf, 0, -1, false)
  if vim.bo[buf].endofline or vim.bo[buf].fixendofline then
    lines[#lines + 1] = ''
  end
  lsp.notify(state.client_id, 'textDocument/didChange', {
    textDocument = {
      uri = vim.uri_from_bufnr(buf),
      version = api.nvim_buf_get_changedtick(buf),
    },
    contentChanges = { { text = table.concat(lines, ending) } },
  })
end

---@param buf integer
---@param invoked boolean
---@param step? integer
local function ask(buf, invoked, step)
  local state = buffers[buf]
  local client = state and vim.lsp.get_client_by_id(state.client_id)
  if not state or not client or not inserting() or api.nvim_get_current_buf() ~= buf then
    return
  end
  stop_timer(state)
  catch_up(buf, state)
  local row, col = cursor()
  request_count = request_count + 1
  ---@type fimd.Request
  local request = {
    token = 'fimd-' .. request_count,
    row = row,
    col = col,
    line = api.nvim_get_current_line(),
    invoked = invoked,
    step = step or 0,
    done = false,
  }
  state.request = request
  local token = request.token
  streams[token] = { buf = buf, request = request }
  local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
  params.context = { triggerKind = invoked and 1 or 2 }
  params.partialResultToken = token
  local method = 'textDocument/inlineCompletion'
  request.lsp_id = lsp.request(client, method, params, function(err, result)
    streams[token] = nil
    request.answered = true
    request.done = not err and type(result) == 'table' -- null: given up for a newer request
    if buffers[buf] ~= state then
      return
    end
    if request.lsp_id then
      state.pending[request.lsp_id] = nil
    end
    local items = not err and type(result) == 'table' and (result.items or result) or {}
    -- With a stream the reply is empty: what came before it stands.
    if #items > 0 or not (state.place and current(state).request == request) then
      offer(buf, state, request, items)
    end
  end, buf)
  if request.lsp_id and not request.answered then
    state.pending[request.lsp_id] = request
  elseif not request.lsp_id then
    streams[token] = nil
  end
end

--- A partial result: `$/progress` with one of our tokens.
---@param params table
---@return boolean ours
function M.progress(params)
  local stream = streams[params.token]
  if not stream then
    return type(params.token) == 'string' and params.token:find('^fimd%-%d+$') ~= nil
  end
  local state = buffers[stream.buf]
  local items = type(params.value) == 'table' and (params.value.items or params.value) or {}
  if state and #items > 0 then
    offer(stream.buf, state, stream.request, items)
  elseif state and state.place and current(state).request == stream.request then
    forget(stream.buf, state) -- taken back: the whole was not worth showing
  end
  return true
end

---@param buf integer
---@param state fimd.Buffer
---@param delay_ms integer
local function ask_soon(buf, state, delay_ms)
  state.timer = state.timer or assert(vim.uv.new_timer())
  state.timer:stop()
  state.timer:start(
    delay_ms,
    0,
    vim.schedule_wrap(function()
      if buffers[buf] == state then
        ask(buf, false)
      end
    end)
  )
end

--- Text or cursor changed in insert mode.
---@param buf integer
---@param moved boolean The cursor moved, and maybe nothing else.
local function changed(buf, moved)
  local state = buffers[buf]
  if not state then
    return
  end
  local row, col = cursor()
  local tick = api.nvim_buf_get_changedtick(buf)
  local seen = ('%d %d %d'):format(tick, row, col)
  if seen == state.seen then
    return -- CursorMovedI and TextChangedI of the same key
  end
  local only_moved = moved and vim.startswith(state.seen or '', tick .. ' ')
  state.seen = seen
  if state.place then
    show(buf, state)
  end
  if config.current.auto then
    local delay_ms = config.current.delay_ms
    ask_soon(buf, state, only_moved and math.max(100, delay_ms) or delay_ms)
  end
end

---@param buf integer
local function left(buf)
  local state = buffers[buf]
  if state then
    cancel(state)
    forget(buf, state)
    state.request = nil
    state.seen = nil
  end
end

--- Follows a buffer that the client is attached to.
---@param buf integer
---@param client_id integer
---@param group integer
function M.attach(buf, client_id, group)
  M.detach(buf)
  local state = { client_id = client_id, pending = {}, candidates = {}, index = 1 }
  buffers[buf] = state
  watch(buf, state)
  api.nvim_clear_autocmds({ group = group, buffer = buf })
  local function on(events, callback)
    api.nvim_create_autocmd(events, {
      group = group,
      buffer = buf,
      callback = function()
        callback()
      end,
    })
  end
  on({ 'InsertEnter', 'CursorMovedI' }, function()
    changed(buf, true)
  end)
  on({ 'TextChangedI', 'TextChangedP' }, function()
    changed(buf, false)
  end)
  on({ 'InsertLeave', 'BufLeave', 'WinLeave' }, function()
    left(buf)
  end)
  if api.nvim_get_current_buf() == buf and inserting() then
    changed(buf, true)
  end
end

---@param buf integer
function M.detach(buf)
  local state = buffers[buf]
  if state then
    left(buf)
    if state.timer then
      state.timer:close()
    end
    buffers[buf] = nil
  end
end

--- Whether ghost text is shown.
---@param buf? integer
---@return boolean
function M.visible(buf)
  local state = buffers[resolve(buf)]
  return state ~= nil and state.place ~= nil
end

--- What is shown: the text that accepting all would insert.
---@param buf? integer
---@return string?
function M.text(buf)
  local state = buffers[resolve(buf)]
  return state and state.place and state.place.remaining or nil
end

--- Whether Tab should indent rather than accept: in front of a line, where the suggestion only
--- begins with more indentation.
---@return boolean
function M.wants_indent()
  local state = buffers[resolve()]
  local place = state and state.place
  if not place then
    return false
  end
  local before = api.nvim_get_current_line():sub(1, place.col)
  return before:find('^%s*$') ~= nil and place.remaining:find('^[ \t]') ~= nil
end

--- Puts a part of the suggestion into the buffer. Must not be called while text is locked.
---@param part 'all'|'word'|'line'
---@return boolean accepted
function M.apply(part)
  local buf = resolve()
  local state = buffers[buf]
  local now = state and current(state)
  if not state or not now or not state.place or not vim.bo[buf].modifiable then
    return false
  end
  local row, col = cursor()
  local place = suggestion.locate(now, buf, row, col)
  if not place then
    forget(buf, state)
    return false
  end
  local inserted, taken = text.accepted(place.remaining, place.tail, part)
  local lines = vim.split(inserted, '\n', { plain = true })
  api.nvim_buf_set_text(buf, row, col, row, col + taken, lines)
  api.nvim_win_set_cursor(0, { row + #lines, (#lines == 1 and col or 0) + #lines[#lines] })

  local length = #place.typed + #inserted
  if length >= #now.text then
    cancel(state)
    forget(buf, state)
    lsp.execute(state.client_id, now.item.command, buf)
  else
    show(buf, state)
    lsp.notify(state.client_id, 'textDocument/didPartiallyAcceptCompletion', {
      item = now.item,
      acceptedLength = text.utf16_length(now.text:sub(1, length)),
    })
  end
  return true
end

--- Shows another candidate, asking for them first if there is only one.
---@param step integer
---@return boolean
function M.cycle(step)
  local buf = resolve()
  local state = buffers[buf]
  if not state or not inserting() then
    return false
  end
  if #state.candidates > 1 and state.place then
    state.index = 1 + (state.index - 1 + step) % #state.candidates
    show(buf, state, true)
  else
    ask(buf, true, state.place and step or 0)
  end
  return true
end

---@return boolean dismissed
function M.dismiss()
  local buf = resolve()
  local state = buffers[buf]
  if not state then
    return false
  end
  local was_shown = state.place ~= nil
  cancel(state)
  forget(buf, state)
  state.request = nil
  return was_shown
end

--- Asks for a suggestion now.
---@return boolean
function M.trigger()
  local buf = resolve()
  if not buffers[buf] or not inserting() then
    return false
  end
  ask(buf, true)
  return true
end

return M
