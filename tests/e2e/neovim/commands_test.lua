-- explain, review, refactor, fix, document: what the daemon answers and what becomes of it.

local h = require('harness')

local plugin = { 'plugin' }
local code = table.concat({
  'import json',
  '',
  '',
  'def read_config(path, default=None):',
  '    if not path:',
  '        return default',
  '    with open(path) as f:',
  '        return json.load(f)',
  '',
}, '\n')

-- A daemon of its own with a tiny model that chats: what it says is noise.
local function chat_options()
  return ('_G.chat_options = { cmd_env = { FIMD_MODEL = %q, FIMD_SOCKET = %q } }\n'):format(
    vim.fs.normalize(vim.fn.getcwd() .. '/tests/fixtures/qwen3-chat-tiny.gguf'),
    vim.env.FIMD_E2E_WORK .. '/chat.sock'
  )
end

local listen = [[
_G.said = {}
vim.notify = function(text) table.insert(said, text) end]]

local function said(e, pattern)
  return e:wait('the message ' .. pattern, function()
    for _, text in ipairs(e:lua('return said')) do
      if text:find(pattern) then
        return text
      end
    end
  end)
end

-- The lines and title of the float, if there is one.
local function float(e)
  local found = e:lua([[
    for _, win in ipairs(vim.api.nvim_list_wins()) do
      local config = vim.api.nvim_win_get_config(win)
      if config.relative ~= '' and config.title then
        local buf = vim.api.nvim_win_get_buf(win)
        return {
          title = config.title[1][1],
          focus = win == vim.api.nvim_get_current_win(),
          filetype = vim.bo[buf].filetype,
          text = table.concat(vim.api.nvim_buf_get_lines(buf, 0, -1, false), '\n'),
        }
      end
    end]])
  return found ~= vim.NIL and found or nil
end

local function wait_float(e, pattern)
  return e:wait('a float with ' .. pattern, function()
    local found = float(e)
    return found and found.text:find(pattern) and found
  end)
end

local function command(e, text)
  e:lua('vim.cmd(...)', text)
end

local function main_text(e)
  return e:lua([[return table.concat(vim.api.nvim_buf_get_lines(vim.fn.bufnr('main.py'), 0, -1, false), '\n')]])
end

return {
  {
    name = 'document shows a diff, and accepting it is one undo step',
    with = plugin,
    files = { ['main.py'] = code },
    before = listen,
    run = function(e)
      e:input('6G')
      command(e, 'Fimd document')
      local shown = wait_float(e, '%+    """%u')
      h.check(shown.focus and shown.filetype == 'diff', vim.inspect(shown))
      h.equal(shown.title, ' Document read_config ', 'title')
      h.equal(main_text(e), code, 'the text before accepting')
      local line = shown.text:match('\n%+(    """[^\n]*)')
      h.check(shown.text:find('\n def read_config'), 'no context in ' .. shown.text)
      e:input('a')
      local documented = code:gsub('default=None%):\n', '%0' .. line:gsub('%%', '%%%%') .. '\n')
      e:wait_text(documented)
      h.check(float(e) == nil, 'the float is still there')
      h.equal(e:lua('return vim.fn.getpos(".")[2]'), 7, 'the line of the cursor')
      e:input('u')
      e:wait_text(code)
      e:input('<C-r>')
      e:wait_text(documented)
      -- It stands there already, and this model cannot write a better one.
      command(e, 'Fimd document')
      said(e, "'read_config' is documented already")
    end,
  },
  {
    name = 'a rejected edit changes nothing',
    with = plugin,
    files = { ['main.py'] = code },
    before = listen,
    run = function(e)
      local tick = e:lua('return vim.b.changedtick')
      e:input('6G')
      command(e, 'Fimd document')
      wait_float(e, '%+')
      e:input('q')
      e:wait('no float', function()
        return not float(e)
      end)
      h.equal(e:text(), code, 'the text')
      h.equal(e:lua('return vim.b.changedtick'), tick, 'changedtick')
      h.equal(e:lua('return said'), {}, 'messages')
    end,
  },
  {
    name = 'an edit for text that changed in between is refused',
    with = plugin,
    files = { ['main.py'] = code },
    before = listen,
    run = function(e)
      e:input('6G')
      command(e, 'Fimd document')
      wait_float(e, '%+')
      e:lua([[vim.api.nvim_buf_set_lines(vim.fn.bufnr('main.py'), 0, 1, false, { 'import os' })]])
      e:input('a')
      said(e, 'the text changed in between')
      h.equal(e:text(), (code:gsub('json\n', 'os\n', 1)), 'the text')
      h.check(not float(e), 'the float is still there')
    end,
  },
  {
    name = 'a model that cannot chat says so',
    with = plugin,
    files = { ['main.py'] = code },
    before = listen,
    run = function(e)
      e:input('6G')
      command(e, 'Fimd explain')
      local message = said(e, 'cannot follow instructions')
      h.check(message:find('`explain`') and message:find('model.path'), message)
      h.check(not float(e), 'the float is still there')
      command(e, 'Fimd cancel')
      said(e, 'nothing runs')
      -- Bars and quotes belong to the instruction.
      command(e, '4,5Fimd refactor say "a | b" | and c')
      said(e, '`refactor`')
      local sent = e:lua([[
        for _, request in ipairs(wire.requests) do
          if request.params and request.params.command == 'fimd.refactor' then
            return request.params.arguments[1]
          end
        end]])
      h.equal(sent.instruction, 'say "a | b" | and c', 'instruction')
      h.equal(sent.range.start, { line = 3, character = 0 }, 'the start of the range')
      h.equal(sent.range['end'], { line = 5, character = 0 }, 'the end of the range')
    end,
  },
  {
    name = 'an explanation streams into a float; closing it cancels',
    with = plugin,
    files = { ['main.py'] = code },
    options = '_G.chat_options',
    before = chat_options() .. listen,
    run = function(e)
      e:input('6G')
      command(e, 'Fimd explain')
      local shown = wait_float(e, '%w')
      h.check(shown.focus and shown.filetype == 'markdown', vim.inspect(shown))
      local whole = e:wait('the result', [[
        for _, request in ipairs(wire.requests) do
          if request.method == 'workspace/executeCommand' and request.result then
            return request.result.text
          end
        end]])
      h.check(vim.startswith(float(e).text, vim.split(whole, '\n')[1]), 'the float holds the result')
      e:input('q')
      e:wait('no float', function()
        return not float(e)
      end)
      command(e, 'Fimd review')
      e:wait('the float', function()
        return float(e)
      end)
      e:input('q')
      e:wait('no float', function()
        return not float(e)
      end)
      h.equal(e:lua('return said'), {}, 'messages')
      h.equal(e:text(), code, 'the text')
    end,
  },
  {
    name = 'code actions run in the plugin',
    with = plugin,
    files = { ['main.py'] = code },
    before = listen .. [[

      vim.ui.select = function(items, _, choose)
        _G.offered = vim.tbl_map(function(item) return item.action.title end, items)
        choose(items[1], 1)
      end]],
    run = function(e)
      e:input('6G')
      e:lua('vim.lsp.buf.code_action()')
      wait_float(e, '%+    """')
      h.equal(e:lua('return offered'), { 'Write documentation' }, 'offered')
      e:input('a')
      e:wait('the documentation', function()
        return e:text():find('"""') ~= nil
      end)
      h.equal(e:lua('return said'), {}, 'messages')
    end,
  },
}
