-- One test: its files, its editor, and the checks they share.

local driver = require('driver')

local M = {}

local core_init = [[
vim.lsp.config('fimd', {
  cmd = { FIMD, 'lsp' },
  root_markers = { '.root' },
  init_options = { editor = { status = 'on' }, completion = { min_mean_logprob = -100 } },
})
vim.lsp.enable('fimd')
vim.lsp.inline_completion.enable()
vim.keymap.set('i', '<Tab>', function()
  if not vim.lsp.inline_completion.get() then
    return '<Tab>'
  end
end, { expr = true })
]]

local plugin_init = [[
local options = OPTIONS
options.cmd = { FIMD, 'lsp' }
options.root_markers = { '.root' }
-- What is shown must not hang on how sure the model is.
options.settings = vim.tbl_deep_extend(
  'keep',
  options.settings or {},
  { completion = { min_mean_logprob = -100 } }
)
require('fimd').setup(options)
]]

-- In the order in which things reach the buffer: typed characters, accepted texts.
local journal_init = [[
_G.journal = {}
vim.api.nvim_create_autocmd('InsertCharPre', {
  callback = function()
    table.insert(journal, vim.v.char)
  end,
})
local set_text = vim.api.nvim_buf_set_text
vim.api.nvim_buf_set_text = function(buf, row, col, end_row, end_col, lines)
  table.insert(journal, table.concat(lines, '\n'))
  return set_text(buf, row, col, end_row, end_col, lines)
end
]]

---@class Test
---@field name string
---@field with string[] plugin, core (no plugin), plugin_core (the plugin, but Neovim draws)
---@field files? table<string, string>
---@field open? string
---@field options? string Lua table of setup options
---@field before? string Lua code to run before setup
---@field terminal? boolean In a real terminal.
---@field run fun(e: Editor)

---@param setup table
---@param test Test
---@return boolean, any
function M.run(setup, test)
  local dir = vim.fn.tempname():gsub('[^/]*$', '') .. vim.fs.basename(vim.fn.tempname())
  vim.fn.mkdir(dir .. '/project', 'p')
  local base = vim.fn.resolve(dir)
  -- Prompts name the project: with a name that is new each time, suggestions would be too.
  dir = base .. '/project'
  vim.fn.writefile({}, dir .. '/.root')
  for name, text in pairs(test.files or {}) do
    vim.fn.mkdir(vim.fs.dirname(dir .. '/' .. name), 'p')
    vim.fn.writefile(vim.split(text, '\n', { plain = true }), dir .. '/' .. name)
  end
  local init = setup.plugin and plugin_init:gsub('OPTIONS', function()
    return test.options or (setup.tags.plugin_core and "{ ghost = 'builtin' }" or '{}')
  end) or core_init
  init = init:gsub('FIMD', function()
    return ('%q'):format(vim.env.FIMD_E2E_BIN)
  end)
  local editor
  local ok, message = xpcall(function()
    editor = driver[test.terminal and 'start_in_terminal' or 'start']({
      nvim = setup.nvim,
      plugin = setup.plugin,
      init = journal_init .. (test.before or '') .. '\n' .. init,
      cwd = dir,
    })
    if test.open ~= false then
      editor:edit(test.open or 'main.py')
      editor:wait_ready()
    end
    test.run(editor)
    local messages = editor:lua("return vim.fn.execute('messages')")
    for _, sign in ipairs({ 'INVALID_SERVER_MESSAGE', 'Error executing', 'stack traceback' }) do
      if messages:find(sign) then
        error('errors were shown: ' .. messages, 0)
      end
    end
  end, function(err)
    return type(err) == 'string' and debug.traceback(err, 2) or err
  end)
  if not ok and editor then
    local stderr = table.concat(editor.stderr, '\n')
    message = ('%s\n%s\n%s'):format(message, editor:describe(), stderr)
  end
  if editor then
    editor:stop()
  end
  vim.fn.delete(base, 'rf')
  return ok, message
end

function M.equal(actual, expected, what)
  if not vim.deep_equal(actual, expected) then
    local text = '%s: expected\n%s\nbut got\n%s'
    error(text:format(what or 'values differ', vim.inspect(expected), vim.inspect(actual)), 2)
  end
end

function M.check(condition, what)
  if not condition then
    error(what, 2)
  end
end

function M.last_reply(e)
  local replies = e:lua('return wire.replies()')
  return replies[#replies]
end

--- The first item of the newest reply that has one.
function M.last_offer(e)
  local replies = e:lua('return wire.replies()')
  for i = #replies, 1, -1 do
    if #replies[i].items > 0 then
      return replies[i].items[1]
    end
  end
end

--- What the daemon's newest offer means for its line, in bytes: the line before the range, the text,
--- what of it is typed already, and the line after the range.
function M.offered(e)
  local item = M.last_offer(e)
  M.check(item, 'the daemon offered nothing')
  local line = e:lines()[item.range.start.line + 1]
  local cursor = e:lua('return vim.api.nvim_win_get_cursor(0)')
  local encoding = e:lua('return vim.lsp.get_clients({ bufnr = 0 })[1].offset_encoding')
  local first = vim.str_byteindex(line, encoding, item.range.start.character, false)
  local last = vim.str_byteindex(line, encoding, item.range['end'].character, false)
  return {
    text = item.insertText,
    head = line:sub(1, first),
    typed = line:sub(first + 1, cursor[2]),
    rest = line:sub(last + 1),
    item = item,
  }
end

function M.blanks(text)
  return (text:gsub('[ \t]+', ' '))
end

--- Waits for ghost text and checks that it is what the daemon said.
function M.ghost(e)
  e:wait_ghost()
  e:settle()
  local ghost = e:ghost()
  M.check(ghost, 'the ghost text went away once the reply was complete')
  local offer = M.offered(e)
  local expected = offer.text:sub(#offer.typed + 1)
  -- Virtual text knows no tabs: they are drawn as blanks.
  M.equal(M.blanks(ghost.text), M.blanks(expected), 'ghost text and reply')
  return expected
end

--- The buffer must be what was typed and accepted, in that order. (InsertCharPre does not tell of
--- line breaks, so they are left out.)
function M.check_journal(e, before)
  local function joined(text)
    return (text:gsub('\n', ''))
  end
  -- Both at once: keys that are still on their way may come between two calls.
  local text, journal = unpack(e:lua([[
    local lines = vim.api.nvim_buf_get_lines(0, 0, -1, false)
    return { table.concat(lines, '\n'), table.concat(journal) }]]))
  M.equal(joined(text), joined(before .. journal), 'buffer and journal')
end

return M
